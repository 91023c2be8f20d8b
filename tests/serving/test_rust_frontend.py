"""Where vLLM is told to use its Rust front end, the real one: our parser serves, or it by choice.

The program comes from the CUDA wheel of the same release (`scripts/devtools/rust_frontend.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.rust_frontend_calls import ask, body, environment
from devtools import rust_frontend
from devtools.chat_completions import Answer, both, expected, openai_client, request
from devtools.conversations import BY_NAME, CONVERSATIONS
from devtools.server import MODEL, Server, run_server, serve_arguments, start_server

from midm_vllm.chat.rendering import PACKAGED_TEMPLATE

pytestmark = pytest.mark.slow

#: What the Rust front end's own parser reads as ours does, whatever the template's engine.
READ = ["single_call", "area_call", "single_call_english", "long_call_with_escapes"]


def rust_environment(**more: str) -> dict[str, str]:
    program = str(rust_frontend.fetch())
    return {"VLLM_USE_RUST_FRONTEND": "1", "VLLM_RUST_FRONTEND_PATH": program} | more


def test_the_program_is_of_the_installed_release() -> None:
    program = rust_frontend.fetch()
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["vllm-rs", program.parent.name]


@pytest.mark.parametrize("defaults", ["1", "0"], ids=["defaults", "defaults off"])
def test_by_default_python_serves_and_logs_the_reason(
    checkpoint: Path, tmp_path: Path, defaults: str
) -> None:
    environment = rust_environment(MIDM_VLLM_SERVING_DEFAULTS=defaults)
    log = tmp_path / "vllm.log"
    arguments = serve_arguments(checkpoint, "--enable-auto-tool-choice")
    with run_server(arguments, log, environment) as server:
        client = openai_client(server)
        for conversation in CONVERSATIONS if defaults == "1" else CONVERSATIONS[:1]:
            assert both(client, request(conversation)) == (expected(conversation),) * 2
    lines = log.read_text(errors="replace")
    assert lines.count("Front end: the Python one in spite of VLLM_USE_RUST_FRONTEND") == 1
    assert "Launching Rust frontend" not in lines


@pytest.fixture(scope="module")
def rust_server(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("rust") / "vllm.log"
    with run_server(serve_arguments(checkpoint), log, environment()) as running:
        yield running


def test_who_wants_the_rust_one_gets_it(rust_server: Server) -> None:
    lines = rust_server.log.read_text(errors="replace")
    assert "Front end: vLLM's Rust one, because of MIDM_VLLM_RUST_FRONTEND=1" in lines
    assert "Launching Rust frontend" in lines


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("stream", [False, True], ids=["non-streaming", "streaming"])
def test_its_own_parser_reads_calls_in_the_trained_format(
    rust_server: Server, name: str, stream: bool
) -> None:
    assert ask(rust_server, body(BY_NAME[name], "auto"), stream) == expected(BY_NAME[name])


def test_the_rust_binary_rejects_midm_parser(checkpoint: Path, tmp_path: Path) -> None:
    """What the choice saves the user from; when vLLM's Rust front end knows more, look again."""
    arguments = ["serve", str(checkpoint), "--python", sys.executable, "--enforce-eager",
                 "--max-model-len", "4096", "--tool-call-parser", "midm-parser"]  # fmt: skip
    log, command = tmp_path / "vllm.log", (str(rust_frontend.fetch()),)
    with start_server(arguments, log, command=command) as server:
        assert server.process.wait(300) != 0
    assert "tool parser `midm-parser` is not registered" in log.read_text(errors="replace")


def test_the_program_started_directly_reads_calls(checkpoint: Path, tmp_path: Path) -> None:
    arguments = [
        "serve", str(checkpoint), "--served-model-name", MODEL, "--python", sys.executable,
        "--tool-call-parser", "hermes", "--chat-template", str(PACKAGED_TEMPLATE),
        "--tool-strict-level", "parameter", "--enforce-eager", "--max-model-len", "4096",
    ]  # fmt: skip
    command = (str(rust_frontend.fetch()),)
    with run_server(arguments, tmp_path / "vllm.log", command=command) as server:
        for name in [*READ, "call_without_arguments"]:
            right = expected(BY_NAME[name])
            for stream in (False, True):
                answer = ask(server, body(BY_NAME[name], "auto"), stream)
                assert isinstance(answer, Answer), answer
                assert (answer.calls, answer.finish_reason) == (right.calls, right.finish_reason)
                # When the grammar forces another path, the content may be meaningless.
                assert answer.content == right.content or name not in READ


def test_the_program_is_not_in_the_package() -> None:
    import midm_vllm

    package = Path(midm_vllm.__file__).parent
    assert not [file for file in package.rglob("*") if os.access(file, os.X_OK) and file.is_file()]
