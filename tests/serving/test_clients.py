"""The agents of `examples` run against a real vLLM, each with its own framework."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import MODEL
from setup_env import own_environment
from vllm_server import Server

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
# No telemetry, and no list of prices from the network.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false"}


@pytest.mark.parametrize("agent", ["langchain", "litellm", "pydantic_ai", "openai_agents"])
def test_agent_calls_a_tool_and_answers_with(agent: str, server: Server) -> None:
    done = subprocess.run(
        [own_environment("agents"), EXAMPLES / f"agent_{agent}.py", f"{server.url}/v1", MODEL],
        capture_output=True, text=True, check=False, env=os.environ | OFFLINE, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "convert_area 84 제곱미터 평", "84제곱미터는 약 25.41평입니다."
    ]
