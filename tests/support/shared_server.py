"""One server for all processes that run the tests."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from devtools.server import Server, run_server


@contextlib.contextmanager
def shared_server(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    """The server `vllm *arguments` of everybody who names this folder, their own temporary one.

    Who comes first starts it, and waits in the end until nobody uses it. Raises ServerFailed where
    it does not start; the next to come tries again.
    """
    running = folder / "shared-server.json"
    with contextlib.ExitStack() as started, (folder / "shared-server.users").open("w") as users:
        with _alone(folder):
            owned = not running.exists()
            if owned:
                log = folder / "shared-server.log"
                server = started.enter_context(run_server(arguments, log, environment))
                running.write_text(json.dumps([server.url, str(log), server.process.pid]))
            else:
                url, log, process = json.loads(running.read_text())
                server = Server(url, Path(log), psutil.Process(process))
            fcntl.flock(users, fcntl.LOCK_SH)
        yield server
        if owned:
            with _alone(folder):  # Nobody comes any more; they start one of their own.
                fcntl.flock(users, fcntl.LOCK_EX)
                running.unlink()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "shared-server.door").open("w") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
