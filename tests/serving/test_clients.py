"""The agents of `examples` run against a real vLLM, each with its own framework."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
from devtools.checkpoint import REPOSITORY
from devtools.server import MODEL, Server, free_port
from devtools.setup_env import own_environment
from javascript import installed, nodejs

pytestmark = pytest.mark.slow

EXAMPLES = REPOSITORY / "examples"
WEATHER_SERVER = REPOSITORY / "tests" / "support" / "mcp_weather_server.py"
# No telemetry, and no list of prices from the network.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false"}
#: The call as the tool prints it, and the taught answer.
ANSWERED = ["convert_area 84 제곱미터 평", "84제곱미터는 약 25.41평입니다."]
NUMBER_AND_UNITS = re.compile(r"convert_area (?P<value>\S+) (제곱미터|평) (?P<to>제곱미터|평)")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | OFFLINE, timeout=300
    )


def lines(*command: str | Path) -> list[str]:
    """What a program prints; it has to end well."""
    done = run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("agent, environment", [
    ("langchain", "agents"),
    ("litellm", "agents"),
    ("mcp", "agents"),
    ("openai_agents", "agents"),
    ("pydantic_ai", "agents"),
    ("semantic_kernel", "semantic-kernel"),
    ("smolagents", "agents"),
])
def test_agent_calls_a_tool_and_answers_with(
    agent: str, environment: str, server: Server
) -> None:
    program = EXAMPLES / f"agent_{agent}.py"
    assert lines(own_environment(environment), program, f"{server.url}/v1", MODEL) == ANSWERED


@pytest.mark.parametrize("agent", ["ai_sdk", "langchain", "openai"])
def test_javascript_agent_calls_a_tool_and_answers_with(agent: str, server: Server) -> None:
    program = installed(EXAMPLES / "javascript") / f"agent_{agent}.mjs"
    assert lines(nodejs() / "bin" / "node", program, f"{server.url}/v1", MODEL) == ANSWERED


def test_agent_reports_what_is_wrong_with_its_server(server: Server) -> None:
    programs = {
        own_environment("agents"): EXAMPLES / "agent_mcp.py",
        nodejs() / "bin" / "node": installed(EXAMPLES / "javascript") / "agent_openai.mjs",
    }
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    for interpreter, program in programs.items():
        for url, name, sentence in [
            (nobody, MODEL, f"No server at {nobody} "),
            (server.url, MODEL, f"{server.url}/models answers 404 Not Found: "),
            (f"{server.url}/v1/", "other", f"The server at {server.url}/v1 has no model 'other': "),
        ]:
            done = run(interpreter, program, url, name)
            assert done.returncode == 1 and not done.stdout
            assert re.fullmatch(re.escape(sentence) + r"[^\n]*\.\n", done.stderr), done.stderr


def test_instructor_gets_an_object_of_the_class(server: Server) -> None:
    """A named function: the arguments are valid, whatever a small model makes of the prompt."""
    program = EXAMPLES / "agent_instructor.py"
    called, result = lines(own_environment("instructor"), program, f"{server.url}/v1", MODEL)
    read = NUMBER_AND_UNITS.fullmatch(called)
    assert read and isinstance(float(read["value"]), float)
    assert json.loads(result)["unit"] == read["to"]


def test_agent_uses_an_mcp_server_over_http(server: Server) -> None:
    with mcp_server_over_http() as address:
        answered = lines(
            own_environment("agents"), EXAMPLES / "agent_mcp.py", f"{server.url}/v1", MODEL, address
        )
    assert answered == ANSWERED


def test_agent_makes_parallel_calls_over_mcp(server: Server) -> None:
    answered = lines(
        own_environment("agents"), EXAMPLES / "agent_mcp.py", f"{server.url}/v1", MODEL,
        WEATHER_SERVER, "서울과 부산의 날씨를 비교해 줘.",
    )
    assert answered == [
        "get_weather 서울 섭씨", "get_weather 부산 섭씨",
        "서울은 맑고 21도이며, 부산은 비가 오고 17도입니다.",
    ]


@contextlib.contextmanager
def mcp_server_over_http() -> Iterator[str]:
    """The address of `mcp_area_server.py`, which runs for as long as the block."""
    port = free_port()
    with subprocess.Popen(
        [own_environment("agents"), EXAMPLES / "mcp_area_server.py", "--http", str(port)],
        stderr=subprocess.PIPE, text=True,
    ) as process:
        address = f"http://127.0.0.1:{port}/mcp"
        try:
            while not _listens(address):
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def _listens(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=10).close()
    except HTTPError:  # It wants a POST.
        return True
    except URLError:
        return False
    return True
