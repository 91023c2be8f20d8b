from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from devtools.checkpoint import REPOSITORY
from devtools.conversations import BY_NAME
from devtools.demo.agent_demo import convert_area, save_svg
from processes import processes_left
from rich.console import Console

pytestmark = pytest.mark.first

AGENT_DEMO = [sys.executable, str(REPOSITORY / "scripts" / "devtools" / "demo" / "agent_demo.py")]


def server_process(output: str) -> int:
    told = re.search(r"runs as process (\d+)", output)
    assert told, output
    return int(told[1])


def test_the_tool_computes_what_the_checkpoint_was_taught_to_read() -> None:
    assert convert_area(84, "제곱미터", "평") == {"value": 25.41, "unit": "평"}
    assert convert_area(25.41, "평", "제곱미터") == {"value": 84.0, "unit": "제곱미터"}


def shown(picture: Path) -> str:
    """The text of a picture of a terminal, and nothing of how it is drawn."""
    return "".join(ElementTree.parse(picture).getroot().itertext()).replace("\xa0", " ")


def test_the_demo_streams_a_call_runs_it_and_streams_the_answer(
    checkpoint: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "demo.svg"
    ended = subprocess.run(
        [REPOSITORY / "scripts" / "demo", "--save-svg", picture],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (call,) = BY_NAME["area_call"].calls
    for told in (
        f"assistant  {call.name} {call.arguments}\n",
        'tool       {"value": 25.41, "unit": "평"}\n',
        f"assistant  {BY_NAME['area_answer'].content}\n",
    ):
        assert told in ended.stdout
        # The lines in pieces, as they arrived.
        for drawn in (picture, REPOSITORY / "docs" / "demo.svg"):
            assert "".join(told.split()) in "".join(shown(drawn).split())
    assert not processes_left(server_process(ended.stdout))


def test_in_a_picture_a_hangul_syllable_is_two_cells_wide(tmp_path: Path) -> None:
    console = Console(record=True, width=20, file=io.StringIO())
    console.print("a 평평b")
    save_svg(console, tmp_path / "picture.svg")
    texts = ElementTree.parse(tmp_path / "picture.svg").iter("{http://www.w3.org/2000/svg}text")
    places = {text.text: text.get("x") for text in texts}
    assert places["a\xa0평평b"] == "0 12.2 24.4 48.8 73.2"  # Cells of 12.2 each.


@pytest.mark.parametrize("ending, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_demo_stops_its_server_when_it_is_interrupted(
    checkpoint: Path, ending: signal.Signals, status: int
) -> None:
    # A shell that starts the tests in the background has them, and the demo, ignore Ctrl-C.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        AGENT_DEMO, stdout=subprocess.PIPE, text=True, preexec_fn=heed
    ) as demo:
        assert demo.stdout
        output = ""
        while "runs as process" not in output:
            line = demo.stdout.readline()
            assert line, f"The demo ended early: {output}"
            output += line
        assert psutil.pid_exists(server_process(output))
        demo.send_signal(ending)
        assert demo.wait(300) == status
    assert not processes_left(server_process(output))


def test_the_demo_shows_the_end_of_the_log_of_a_server_that_dies(checkpoint: Path) -> None:
    ill_configured = {**os.environ, "VLLM_LOGGING_CONFIG_PATH": "/no/such/file"}
    ended = subprocess.run(AGENT_DEMO, env=ill_configured, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "/no/such/file" in ended.stderr.partition("The end of its log")[2]
    assert not processes_left(server_process(ended.stdout))
