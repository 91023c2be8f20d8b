from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path

import psutil
import pytest
from vllm_server import ServerFailed, run_server


def processes_left(leader: int) -> list[psutil.Process]:
    """What still runs of a process group, ten seconds from now at the latest."""
    members = [process for process in psutil.process_iter() if _group(process.pid) == leader]
    _, alive = psutil.wait_procs(members, timeout=60)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def _group(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None


def test_a_server_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="(?s)vLLM ended with status 1.*no-such-checkpoint"):
        with run_server(["launch", "render", str(tmp_path / "no-such-checkpoint")],
                        tmp_path / "log"):
            pass


def test_a_server_that_dies_is_told_in_place_of_what_its_client_met(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ServerFailed, match="(?s)vLLM died.*The end of its log") as raised:
        with run_server(["launch", "render", str(checkpoint)], tmp_path / "log") as server:
            with urllib.request.urlopen(f"{server.url}/v1/models") as response:
                assert response.status == 200
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
            urllib.request.urlopen(f"{server.url}/v1/models")
    assert isinstance(raised.value.__cause__, OSError)
    assert not processes_left(server.process.pid)
