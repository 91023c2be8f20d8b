from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools.checkpoint import REPOSITORY
from devtools.demo import webui
from devtools.server import free_port
from devtools.setup_env import SetupError
from processes import processes_left

SCRIPT = REPOSITORY / "scripts" / "webui"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_is_one_sentence_and_a_failing_status(taken_port: int) -> None:
    ended = subprocess.run(
        [sys.executable, webui.__file__, "--port", str(taken_port)], capture_output=True, text=True
    )
    assert ended.returncode == 1
    [sentence] = ended.stderr.splitlines()
    assert sentence.startswith(f"Port {taken_port} of 127.0.0.1 cannot be had")
    assert "--port" in sentence


def test_without_a_browser_it_says_which_packages_have_one(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="apt install chromium fonts-nanum"):
        webui.find_browser(str(tmp_path))


def test_without_korean_letters_it_says_which_package_has_them(tmp_path: Path) -> None:
    for name in ("chromium", "fc-list"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(SetupError, match="apt install fonts-nanum"):
        webui.find_browser(str(tmp_path))


def test_a_full_disk_is_refused_with_the_room_it_has() -> None:
    with pytest.raises(SetupError, match=r"/data has 0\.5 GB free.* 2: make room"):
        webui.check_disk(500_000_000, Path("/data"))


def servers(output: str) -> list[int]:
    return [int(process) for process in re.findall(r"runs as process (\d+)", output)]


@pytest.mark.web
def test_a_browser_sees_two_calls_the_answer_and_another_turn(tmp_path: Path) -> None:
    ended = subprocess.run(
        [SCRIPT, "--check", "--port", str(free_port()), "--pictures", tmp_path],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {file.name for file in tmp_path.iterdir()} == {
        f"open-webui-{name}.png" for name in ("tools", "answer", "calls", "follow-up")
    }
    assert len(servers(ended.stdout)) == 3
    assert not any(map(processes_left, servers(ended.stdout)))


@pytest.fixture
def temporary_folder() -> Iterator[Path]:
    """One with a short path: vLLM's sockets are in it, and theirs have 107 characters at most."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: the person's end, and the program's."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def heed_the_terminal() -> None:
    """In a program before it begins: its terminal is this one, and Ctrl-C ends it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ignored if the tests run in the background.


@pytest.mark.web
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_its_servers_when_it_is_told_to(
    ending: signal.Signals, terminal: tuple[int, int], temporary_folder: Path
) -> None:
    port = free_port()
    person, program = terminal
    with subprocess.Popen(
        [SCRIPT, "--port", str(port)], stdin=program, stdout=program, stderr=program,
        env={**os.environ, "TMPDIR": str(temporary_folder)}, start_new_session=True,
        preexec_fn=heed_the_terminal,
    ) as running:
        output = ""
        while "Open WebUI: http" not in output:
            assert running.poll() is None, output
            if select.select([person], [], [], 1)[0]:
                output += os.read(person, 65536).decode(errors="replace")
        assert list(temporary_folder.glob("open-webui-*"))
        if ending is signal.SIGINT:
            os.write(person, b"\x03")  # Ctrl-C, so everything in the terminal's foreground gets it.
        else:
            running.send_signal(ending)
        assert running.wait() == 128 + ending
    assert len(servers(output)) == 3
    assert not any(map(processes_left, servers(output)))
    webui.check_port(port)
    assert not list(temporary_folder.glob("open-webui-*"))
