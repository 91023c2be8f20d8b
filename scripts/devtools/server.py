"""Run a vLLM server for as long as a `with` block lasts; shared by the demo and the tests.

Or any other server: `start_process`.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

# For a machine without network and with little memory: no hub, no usage report, a key-value
# cache of one GiB. What the caller's environment says of these counts.
ENVIRONMENT = MappingProxyType({
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
})
#: The engine computes in the process that schedules, as on one GPU. On CPUs vLLM has another
#: process for it, which first imports vLLM, and after each step waits a second by spinning.
ENGINE_IN_ONE_PROCESS = MappingProxyType({"VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
VLLM = str(Path(sys.executable).with_name("vllm"))
MODEL = "midm"  # The name that `serve_arguments` gives the model.
STARTUP_SECONDS = 300.0
SHUTDOWN_SECONDS = 20.0
LEFTOVER_SECONDS = 3.0
POLL_SECONDS = 0.2
LOG_LINES = 30


class ServerFailed(Exception):
    """The server died or never got ready; the message ends with the end of its log."""


@dataclass(frozen=True)
class Server:
    """A server's process. `url` has no path: add `/v1` for an OpenAI client of vLLM's."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]
    name: str = "vLLM"
    has_health: bool = True  # Otherwise it is well when it answers at all.
    health: str = "/health"

    def wait_until_ready(self, seconds: float = STARTUP_SECONDS) -> None:
        """Return once the server answers; raise ServerFailed if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not self.is_healthy():
            if time.monotonic() > deadline:
                raise self.failure(f"{self.name} was not ready after {seconds:.0f} seconds")
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(POLL_SECONDS)
                raise self.failure(f"{self.name} ended with status {status}")

    def is_healthy(self) -> bool:
        """Whether the server answers, and says that it is well."""
        try:
            with urllib.request.urlopen(f"{self.url}{self.health}", timeout=10):
                return True
        except urllib.error.HTTPError:
            return not self.has_health
        except OSError:  # Nobody listens.
            return False

    def failure(self, what: str) -> ServerFailed:
        """The error that says what happened and shows the end of the log."""
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        return ServerFailed(f"{what}. The end of its log, {self.log}:\n\n{tail}")


def serve_arguments(checkpoint: Path, *more: str) -> list[str]:
    """The arguments that serve the small checkpoint as a user would; only the parser is named."""
    return ["serve", str(checkpoint), "--served-model-name", MODEL, "--enforce-eager",
            "--max-model-len", "4096", "--tool-call-parser", "midm-parser", *more]


@contextlib.contextmanager
def run_server(
    arguments: Sequence[str],
    log: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    command: Sequence[str] = (VLLM,),
) -> Iterator[Server]:
    """Run `vllm *arguments` as `start_server` does, and enter the block once it is ready."""
    with start_server(arguments, log, environment, command) as server:
        server.wait_until_ready()
        yield server


@contextlib.contextmanager
def start_server(
    arguments: Sequence[str],
    log: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    command: Sequence[str] = (VLLM,),
) -> Iterator[Server]:
    """Run `vllm *arguments` on a free port of 127.0.0.1 until the block ends.

    `arguments` are those of `vllm serve` or `vllm launch render`, without host and port;
    `command` is what to run in place of this Python's `vllm`. The rest is `start_process`'s.
    """
    port = free_port()
    whole = [*command, *arguments, "--host", "127.0.0.1", "--port", str(port)]
    variables = {**ENVIRONMENT, **os.environ, **environment}
    with start_process("vLLM", whole, port, log, variables) as server:
        yield server


@contextlib.contextmanager
def start_process(
    name: str,
    command: Sequence[str],
    port: int,
    log: Path,
    environment: Mapping[str, str],
    has_health: bool = True,
    health: str = "/health",
) -> Iterator[Server]:
    """Run a command that serves on a port of 127.0.0.1 until the block ends.

    Output goes to the file `log`. However the block ends, the server and the processes it started
    are gone after it. Where the block failed because the server died, raises ServerFailed.
    `has_health` says whether it tells at the path `health` that it is well.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A process group of its own: the terminal's Ctrl-C is for us, who then stop the whole
            # group in order.
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", log, process, name, has_health, health)
    try:
        yield server
    except ServerFailed:
        raise
    except Exception as error:
        if server.is_healthy():
            raise
        raise server.failure(f"{name} died") from error
    finally:
        stop(process)


def free_port() -> int:
    """A port of 127.0.0.1 where nothing listens.

    The system's choice would be one that it soon gives to another connection, while vLLM imports.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server, and what is left of its process group, by process id."""
    try:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SHUTDOWN_SECONDS)
        # What outlives it by a little is Python's resource trackers, which free shared memory.
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while _group_exists(process.pid) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    finally:  # A second Ctrl-C while we wait ends the waiting.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _group_exists(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True
