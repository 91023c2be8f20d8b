"""Open WebUI in front of the small checkpoint, with a tool over MCP, on this machine.

Starts `vllm serve` with the plugin's tool parser, `examples/mcp_area_server.py`, and Open WebUI
set up for the two; prints the address, waits for Ctrl-C, and stops them all.

`--check` has a headless browser ask in Korean, see two calls, their arguments, results and the
answer, and ask again; it saves pictures, and what is missing is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from devtools.checkpoint import NotLearned, build
from devtools.server import Server, ServerFailed, free_port, start_process, start_server, stop
from devtools.setup_env import REPOSITORY, SCRIPTS, SetupError, own_environment

MODEL = "midm-small"
PORT = 8080
LOGS = REPOSITORY / ".cache" / "open-webui"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MCP_SERVER = REPOSITORY / "examples" / "mcp_area_server.py"
BROWSER_CHECK = Path(__file__).with_name("webui_browser.py")
#: What Open WebUI writes before a tool's name, and its own: `area_convert_area`.
SERVER_ID = "area"
#: 0.8 GB of them are what Open WebUI's data folder has before anybody said a word.
GIGABYTES = 2.0
#: Until all three are ready: twenty times what it takes, so that a busy machine is no failure.
STARTUP_SECONDS = 1200.0


class CheckFailed(Exception):
    """The browser did not see what it should; the message says what."""


def check_port(port: int) -> None:
    """Refuse a port of 127.0.0.1 that somebody listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SetupError(
                f"Port {port} of 127.0.0.1 cannot be had ({error.strerror}): "
                "choose another with --port."
            ) from None


def check_disk(free_bytes: int, folder: Path) -> None:
    """Refuse a disk that cannot hold Open WebUI's data."""
    if free_bytes < GIGABYTES * 1e9:
        raise SetupError(
            f"The disk of {folder} has {free_bytes / 1e9:.1f} GB free, and Open WebUI's data need "
            f"{GIGABYTES:.0f}: make room, or set TMPDIR to a folder on another disk."
        )


def find_browser(path: str) -> str:
    """The browser on `path`, with Korean letters to write with; else SetupError."""
    found = next(filter(None, (shutil.which(name, path=path) for name in BROWSERS)), None)
    if found is None:
        raise SetupError(
            "No browser was found on the PATH: install Chromium and Korean fonts (Debian: apt "
            "install chromium fonts-nanum; Ubuntu, whose Chromium is a snap: Google Chrome and "
            "fonts-nanum)."
        )
    if lister := shutil.which("fc-list", path=path):
        fonts = subprocess.run([lister, ":lang=ko"], capture_output=True).stdout
        if not fonts.strip():
            raise SetupError(
                "There is no font with Korean letters: install one (Debian and Ubuntu: apt "
                "install fonts-nanum)."
            )
    return found


def settings(model: Server, tools: Server, data: str) -> dict[str, str]:
    """Open WebUI's configuration, as environment variables: for these two, and no network."""
    connection = {
        "type": "mcp", "url": f"{tools.url}/mcp", "spec_type": "url", "spec": "", "path": "",
        "auth_type": "none", "key": "", "config": {"enable": True},
        "info": {"id": SERVER_ID, "name": "넓이", "description": "넓이의 단위를 바꾼다."},
    }
    return {
        "OPENAI_API_BASE_URL": f"{model.url}/v1",
        "OPENAI_API_KEY": "none",
        "TOOL_SERVER_CONNECTIONS": json.dumps([connection]),
        "DEFAULT_MODELS": MODEL,
        # Its own tools would be some thousand tokens in every request.
        "DEFAULT_MODEL_METADATA": json.dumps({"capabilities": {"builtin_tools": False}}),
        # Else tools are no part of the request, and are asked for in a prompt.
        "DEFAULT_MODEL_PARAMS": json.dumps({"function_calling": "native"}),
        # The small checkpoint knows what it was taught, and none of these.
        "ENABLE_TITLE_GENERATION": "false",
        "ENABLE_TAGS_GENERATION": "false",
        "ENABLE_FOLLOW_UP_GENERATION": "false",
        "WEBUI_AUTH": "false",  # For one person, on 127.0.0.1.
        "WEBUI_SECRET_KEY": secrets.token_hex(),
        "DATA_DIR": data,  # It keeps what it was set up with first.
        "OFFLINE_MODE": "true",
        "HF_HUB_OFFLINE": "1",
        "ENABLE_OLLAMA_API": "false",
        "RAG_EMBEDDING_ENGINE": "openai",  # Its own would be loaded from the hub.
        "ENABLE_VERSION_UPDATE_CHECK": "false",
        "ANONYMIZED_TELEMETRY": "false",
        "DO_NOT_TRACK": "true",
        "SCARF_NO_ANALYTICS": "true",
    }


@contextlib.contextmanager
def running(checkpoint: Path, python: Path, port: int) -> Iterator[tuple[Server, Server]]:
    """vLLM and Open WebUI, ready; with them and their MCP server gone after the block."""
    LOGS.mkdir(parents=True, exist_ok=True)
    tool_port = free_port()
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(start_server(
            ["serve", os.path.relpath(checkpoint), "--served-model-name", MODEL,
             "--enforce-eager", "--tool-call-parser", "midm-parser"],
            LOGS / "vllm.log",
        ))
        tools = stack.enter_context(start_process(
            "The MCP server", [str(python), str(MCP_SERVER), "--http", str(tool_port)],
            tool_port, LOGS / "mcp.log", os.environ, has_health=False,
        ))
        data = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="open-webui-", ignore_cleanup_errors=True)
        )
        web = stack.enter_context(start_process(
            "Open WebUI",
            [str(python.with_name("open-webui")), "serve", "--host", "127.0.0.1",
             "--port", str(port)],
            port, LOGS / "open-webui.log", {**os.environ, **settings(model, tools, data)},
        ))
        for server in (model, tools, web):
            print(f"{server.name} runs as process {server.process.pid}; its log: "
                  f"{os.path.relpath(server.log)}", flush=True)
        print("They start: about a minute.", flush=True)
        for server in (tools, model, web):
            server.wait_until_ready(STARTUP_SECONDS)
        yield model, web


def wait(servers: Sequence[Server]) -> None:
    """Return never; raise ServerFailed when one of them ends."""
    while True:
        for server in servers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = server.process.wait(1)
                raise server.failure(f"{server.name} ended with status {status}")


def check(python: Path, browser: str, model: Server, web: Server, pictures: Path) -> None:
    """Have the browser ask; raise CheckFailed if it, or vLLM's log, tells of anything wrong."""
    pictures.mkdir(parents=True, exist_ok=True)
    command = [str(python), str(BROWSER_CHECK), web.url, browser, str(pictures)]
    # Its own process group, with all that a browser starts.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True,
                          env={**os.environ, "PYTHONPATH": str(SCRIPTS)}) as process:
        try:
            status = process.wait()
        finally:
            stop(process)
    if status:
        raise CheckFailed(f"The browser did not see what it should; the servers' logs: {LOGS}.")
    answered = re.findall(r"POST \S+ HTTP/1.1\" (\d+)", model.log.read_text(errors="replace"))
    if not answered or set(answered) != {"200"}:
        raise CheckFailed(f"vLLM answered with {answered}; its log: {model.log}.")
    print(f"vLLM answered {len(answered)} requests, each with 200.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./scripts/webui", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="Open WebUI's; default: %(default)s")
    parser.add_argument("--check", action="store_true", help="have a headless browser use it")
    parser.add_argument(
        "--pictures", type=Path, default=LOGS / "pictures", metavar="FOLDER",
        help="where --check saves what it saw; default: .cache/open-webui/pictures",
    )
    options = parser.parse_args()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # The `with` blocks end, as on Ctrl-C.
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    try:
        check_port(options.port)
        browser = find_browser(os.environ.get("PATH", os.defpath)) if options.check else ""
        check_disk(shutil.disk_usage(tempfile.gettempdir()).free, Path(tempfile.gettempdir()))
        python = own_environment("webui")
        with running(build(), python, options.port) as (model, web):
            if options.check:
                check(python, browser, model, web, options.pictures)
            else:
                print(f"Open WebUI: {web.url} (Ctrl-C ends it)", flush=True)
                wait([model, web])
    except (SetupError, ServerFailed, CheckFailed, NotLearned) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
