"""The built wheel, installed beside vLLM releases, serves the demo's question."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools.conversations import BY_NAME, CONVERT_AREA
from devtools.demo.agent_demo import MODEL, QUESTION, run_agent
from devtools.server import ENGINE_IN_ONE_PROCESS, run_server
from openai import OpenAI
from releases import matrix
from rich.console import Console

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info[:2] != matrix.PYTHON, reason="the releases run on 3.11"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield matrix.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("release", ["0.27.1", "0.30.0", "0.32.0"])
def test_the_demos_question_is_answered(
    wheel: Path, release: str, checkpoint: Path, tmp_path: Path
) -> None:
    environment = matrix.serving_environment(release)
    matrix.install_wheel(wheel, release)
    python = environment / "bin" / "python"
    found = "import midm_vllm, vllm; print(midm_vllm.__file__, vllm.__version__)"
    done = subprocess.run([python, "-P", "-c", found], cwd=tmp_path, capture_output=True, text=True)
    place, version = done.stdout.split()[-2:]
    assert place.startswith(str(environment)) and version.startswith(release), done.stderr

    arguments = ["serve", str(checkpoint), "--served-model-name", MODEL, "--enforce-eager",
                 "--max-model-len", "4096", "--tool-call-parser", "midm-parser"]
    command = (str(environment / "bin" / "vllm"),)
    with run_server(arguments, tmp_path / "log", ENGINE_IN_ONE_PROCESS, command) as server:
        console = Console(record=True, width=200)
        client = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        run_agent(client, QUESTION, [CONVERT_AREA], console)
    shown = console.export_text()
    (call,) = BY_NAME["area_call"].calls
    assert f"assistant  {call.name} {call.arguments}\n" in shown
    assert f"assistant  {BY_NAME['area_answer'].content}\n" in shown
