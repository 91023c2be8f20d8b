"""What is left of the processes that a test started."""

from __future__ import annotations

import os

import psutil


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
