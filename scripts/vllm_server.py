"""Run a vLLM server for as long as a `with` block lasts; shared by the demo and the tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

# Of one machine without network: no hub, no usage report, a key-value cache of one GiB.
ENVIRONMENT = MappingProxyType({
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
})
STARTUP_SECONDS = 300.0
SHUTDOWN_SECONDS = 20.0
POLL_SECONDS = 0.2


class ServerFailed(Exception):
    """The server died or never got ready; the message ends with the end of its log."""


@dataclass(frozen=True)
class Server:
    """A server that answers. `url` has no path: add `/v1` for an OpenAI client."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def run_server(
    arguments: Sequence[str],
    log: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    startup_seconds: float = STARTUP_SECONDS,
) -> Iterator[Server]:
    """Run `vllm *arguments` on a free port of 127.0.0.1, from its readiness to the block's end.

    `arguments` are those of `vllm serve` or `vllm launch render`, without host and port; output
    goes to the file `log`. However the block ends, the server and the processes it started are
    gone after it. Raises ServerFailed if the server does not get ready, and in place of the
    block's own exception if the server died meanwhile.
    """
    port = _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("vllm")), *arguments,
             "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **ENVIRONMENT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A process group of its own: the terminal's Ctrl-C is for us, who then stop the whole
            # group in order.
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", log, process)
    try:
        _wait_until_ready(server, startup_seconds)
        try:
            yield server
        except Exception as error:
            if _is_healthy(server.url):
                raise
            raise _failure(server, "vLLM died") from error
    finally:
        _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(server: Server, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            server.process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if _is_healthy(server.url):
                return
        else:
            raise _failure(server, f"vLLM ended with status {server.process.returncode}")
        if time.monotonic() > deadline:
            raise _failure(server, f"vLLM was not ready after {seconds:.0f} seconds")


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            healthy: bool = response.status == 200
            return healthy
    except OSError:  # Nobody listens yet, or the answer is an error.
        return False


def _failure(server: Server, what: str) -> ServerFailed:
    return ServerFailed(f"{what}. The end of its log, {server.log}:\n\n{server.log_tail()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server, and what is left of its process group, by process id."""
    try:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SHUTDOWN_SECONDS)
    finally:  # A second Ctrl-C while we wait ends the waiting.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
