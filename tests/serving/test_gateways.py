"""Gateways as their users start them, in front of a real vLLM."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def litellm(server: Server, config: Path, log: Path) -> Iterator[openai.OpenAI]:
    port = free_port()
    command = [str(own_environment("gateways").with_name("litellm")), "--config", str(config),
               "--host", "127.0.0.1", "--port", str(port)]
    environment = LITELLM | {"SERVER_URL": f"{server.url}/v1"}
    with running(command, port, "/health/liveliness", log, environment) as client:
        yield client


@contextmanager
def vllm_router(server: Server, log: Path) -> Iterator[openai.OpenAI]:
    port = free_port()
    command = [str(own_environment("gateways").with_name("vllm-router")),
               "--worker-urls", server.url, "--host", "127.0.0.1", "--port", str(port),
               "--prometheus-port", str(free_port())]
    with running(command, port, "/health", log, {}) as client:
        yield client


def kinds_that_fail(client: openai.OpenAI) -> set[str]:
    return {kind for kind, outcome in outcomes(client).items() if outcome != ALL_RIGHT[kind]}


def test_litellm_with_the_example_s_configuration(server: Server, tmp_path: Path) -> None:
    with litellm(server, LITELLM_CONFIG, tmp_path / "litellm.log") as client:
        assert outcomes(client) == ALL_RIGHT


def test_vllm_router_drops_strict_and_nothing_else(server: Server, tmp_path: Path) -> None:
    with vllm_router(server, tmp_path / "router.log") as client:
        assert kinds_that_fail(client) == {"strict", "strict, streamed"}


def test_behind_gateways_that_drop_strict_the_server_can_enforce_every_schema(
    checkpoint: Path, tmp_path: Path
) -> None:
    config = tmp_path / "hosted_vllm.yaml"
    config.write_text(LITELLM_CONFIG.read_text("utf-8").replace("openai/", "hosted_vllm/"), "utf-8")
    arguments = serve_arguments(checkpoint, "--tool-strict-level", "parameter")
    # The grammar has one call a block, so the model cannot write what it was taught of several.
    taught = [name for name in TAUGHT if name != "parallel_calls_in_one_block"]
    with run_server(arguments, tmp_path / "vllm.log", ENGINE_IN_ONE_PROCESS) as server:
        with vllm_router(server, tmp_path / "router.log") as client:
            assert outcomes(client, taught) == ALL_RIGHT
        with litellm(server, config, tmp_path / "litellm.log") as client:
            assert outcomes(client, taught) == ALL_RIGHT
