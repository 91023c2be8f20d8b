from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path

import pytest
from devtools.server import ServerFailed, run_server
from processes import processes_left


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
