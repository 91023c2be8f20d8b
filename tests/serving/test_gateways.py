"""Gateways as their users start them, in front of a real vLLM."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import openai
import pytest
from devtools.checkpoint import REPOSITORY
from devtools.server import (
    ENGINE_IN_ONE_PROCESS, Server, free_port, run_server, serve_arguments
)
from devtools.setup_env import own_environment
from launcher_contract import ALL_RIGHT, TAUGHT, outcomes, running

pytestmark = pytest.mark.slow

LITELLM_CONFIG = REPOSITORY / "examples" / "litellm_config.yaml"
#: LiteLLM wants a key of at least this strength, and by itself asks the network for prices.
LITELLM = {"LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(24)}",
           "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


HOSTED_VLLM = LITELLM_CONFIG.read_text("utf-8").replace("openai/", "hosted_vllm/")
TOOL = {"type": "function", "function": {
    "name": "f", "strict": True,
    "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
}}


@contextmanager
def recording_upstream() -> Iterator[tuple[str, list[Any]]]:
    """The URL of an upstream that says "ok", and the chat requests that it has received."""
    received: list[Any] = []

    class Upstream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # What a router asks before it sends requests.
            self.answer({"object": "list", "data": [{"id": "midm", "object": "model"}]})

        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer({
                "id": "1", "object": "chat.completion", "created": 0, "model": "midm",
                "choices": [{"index": 0, "finish_reason": "stop",
                             "message": {"role": "assistant", "content": "ok"}}],
            })

        def answer(self, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as upstream:
        Thread(target=upstream.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{upstream.server_port}", received
        upstream.shutdown()


@contextmanager
def litellm(url: str, config: Path, log: Path) -> Iterator[openai.OpenAI]:
    port = free_port()
    command = [str(own_environment("gateways").with_name("litellm")), "--config", str(config),
               "--host", "127.0.0.1", "--port", str(port)]
    environment = LITELLM | {"SERVER_URL": f"{url}/v1"}
    with running(command, port, "/health/liveliness", log, environment) as client:
        yield client


@contextmanager
def vllm_router(url: str, log: Path) -> Iterator[openai.OpenAI]:
    port = free_port()
    command = [str(own_environment("gateways").with_name("vllm-router")),
               "--worker-urls", url, "--host", "127.0.0.1", "--port", str(port),
               "--prometheus-port", str(free_port())]
    with running(command, port, "/health", log, {}) as client:
        yield client


def kinds_that_fail(client: openai.OpenAI) -> set[str]:
    return {kind for kind, outcome in outcomes(client).items() if outcome != ALL_RIGHT[kind]}


def test_litellm_with_the_example_s_configuration(server: Server, tmp_path: Path) -> None:
    with litellm(server.url, LITELLM_CONFIG, tmp_path / "litellm.log") as client:
        assert outcomes(client) == ALL_RIGHT


def test_vllm_router_drops_strict_and_nothing_else(server: Server, tmp_path: Path) -> None:
    with vllm_router(server.url, tmp_path / "router.log") as client:
        assert kinds_that_fail(client) == {"strict", "strict, streamed"}


def test_behind_gateways_that_drop_strict_the_server_can_enforce_every_schema(
    checkpoint: Path, tmp_path: Path
) -> None:
    config = tmp_path / "hosted_vllm.yaml"
    config.write_text(HOSTED_VLLM, "utf-8")
    arguments = serve_arguments(checkpoint, "--tool-strict-level", "parameter")
    # The grammar has one call a block, so the model cannot write what it was taught of several.
    taught = [name for name in TAUGHT if name != "parallel_calls_in_one_block"]
    with run_server(arguments, tmp_path / "vllm.log", ENGINE_IN_ONE_PROCESS) as server:
        with vllm_router(server.url, tmp_path / "router.log") as client:
            assert outcomes(client, taught) == ALL_RIGHT
        with litellm(server.url, config, tmp_path / "litellm.log") as client:
            assert outcomes(client, taught) == ALL_RIGHT


@pytest.mark.parametrize("gateway, kept", [
    ("openai/", {"strict", "additionalProperties"}), ("hosted_vllm/", set()),
    ("vllm-router", {"additionalProperties"}),
])
def test_what_gateways_keep_of_a_tool(gateway: str, kept: set[str], tmp_path: Path) -> None:
    config = tmp_path / "litellm.yaml"
    config.write_text(
        HOSTED_VLLM if gateway == "hosted_vllm/" else LITELLM_CONFIG.read_text("utf-8"), "utf-8"
    )
    log = tmp_path / "gateway.log"
    with recording_upstream() as (url, received):
        started = vllm_router(url, log) if gateway == "vllm-router" else litellm(url, config, log)
        with started as client:
            asked = client.with_options(timeout=60).chat.completions
            asked.create(model="midm", messages=[{"role": "user", "content": "f"}], tools=[TOOL])
        [function] = [tool["function"] for tool in received[-1]["tools"]]
    assert {"strict", "additionalProperties"} & {*function, *function["parameters"]} == kept
