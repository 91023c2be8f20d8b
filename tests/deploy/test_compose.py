"""compose.yaml holds together: who may reach whom, what is set where, what the programs know."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_files import COMPOSE, DEPLOY, compose
from devtools.checkpoint import REPOSITORY
from devtools.server import Server
from devtools.setup_env import own_environment

SERVICES: dict[str, Any] = compose()["services"]
VLLM = ("vllm-gpu", "vllm-cpu")
WEBUI: dict[str, str] = SERVICES["open-webui"]["environment"]
CONNECTIONS: list[dict[str, Any]] = json.loads(WEBUI["TOOL_SERVER_CONNECTIONS"])
EXAMPLE = DEPLOY / ".env.example"
#: ${NAME}, ${NAME:-default} and ${NAME:?message}.
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def variables() -> dict[str, set[str]]:
    """The variables of compose.yaml, and how each may be absent: "-", "?" or not at all."""
    found: dict[str, set[str]] = {}
    for name, kind, _ in VARIABLE.findall(COMPOSE.read_text("utf-8")):
        found.setdefault(name, set()).add(kind)
    return found


def example() -> dict[str, str]:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_example_names_every_variable_and_no_other() -> None:
    assert example().keys() - {"COMPOSE_PROFILES"} == variables().keys()


def test_defaults_are_those_of_the_example() -> None:
    for name, kind, default in VARIABLE.findall(COMPOSE.read_text("utf-8")):
        if kind == "-":
            assert example()[name] == default, name


def test_keys_have_no_default_and_must_be_given() -> None:
    for name in ("VLLM_API_KEY", "WEBUI_SECRET_KEY"):
        assert variables()[name] == {"?"}
        assert example()[name] == ""


def test_git_does_not_take_the_secrets() -> None:
    asked = subprocess.run(["git", "check-ignore", "-q", "deploy/.env"], cwd=REPOSITORY)
    assert asked.returncode == 0


def test_only_the_page_is_published_and_only_on_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "open-webui": ["${WEBUI_ADDRESS:-127.0.0.1}:${WEBUI_PORT:-3000}:8080"]
    }


def test_tools_cannot_reach_the_model() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    for tool in ("clock", "search"):
        for vllm in VLLM:
            assert not networks[tool] & networks[vllm]
    assert all(networks["open-webui"] & each for each in networks.values())


def test_images_have_a_version() -> None:
    for service in SERVICES.values():
        _, _, tag = service["image"].partition(":")
        assert tag and tag != "latest"


def test_both_profiles_serve_the_same() -> None:
    gpu, cpu = (SERVICES[name] for name in VLLM)
    assert gpu["command"] == cpu["command"]
    assert gpu["volumes"] == cpu["volumes"]
    assert gpu["environment"].items() <= cpu["environment"].items()
    assert {gpu["profiles"][0], cpu["profiles"][0]} == {"gpu", "cpu"}
    [device] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "deploy" not in cpu


def test_the_page_asks_the_model_that_is_served_with_the_key_that_is_wanted() -> None:
    served = SERVICES["vllm-gpu"]
    assert f"--served-model-name={WEBUI['DEFAULT_MODELS']}" in served["command"]
    [alias] = served["networks"]["serving"]["aliases"]
    assert WEBUI["OPENAI_API_BASE_URL"] == f"http://{alias}:8000/v1"
    assert WEBUI["OPENAI_API_KEY"] == served["environment"]["VLLM_API_KEY"]


def test_tools_are_called_by_the_model_and_no_others_are_sent() -> None:
    assert json.loads(WEBUI["DEFAULT_MODEL_PARAMS"]) == {"function_calling": "native"}
    assert json.loads(WEBUI["DEFAULT_MODEL_METADATA"]) == {
        "capabilities": {"builtin_tools": False}
    }


def test_the_page_knows_each_mcp_server_by_a_name_that_it_answers_to() -> None:
    at = {each["url"] for each in CONNECTIONS}
    assert at == {"http://clock:8000/mcp", "http://search:8000/mcp"}
    assert SERVICES["clock"]["environment"]["CLOCK_ALLOWED_HOSTS"] == "clock:8000"
    assert "--allowed-hosts=search:8000" in SERVICES["search"]["command"]
    for each in CONNECTIONS:
        assert each["type"] == "mcp" and each["config"]["enable"]


def test_strangers_cannot_sign_up_and_everybody_else_has_the_model_and_the_tools() -> None:
    assert WEBUI["ENABLE_SIGNUP"] == "false"
    assert WEBUI["BYPASS_MODEL_ACCESS_CONTROL"] == "true"
    everybody = {"principal_type": "user", "principal_id": "*", "permission": "read"}
    assert all(each["config"]["access_grants"] == [everybody] for each in CONNECTIONS)


def test_the_page_waits_for_all_it_needs() -> None:
    waits = SERVICES["open-webui"]["depends_on"]
    assert waits.keys() == SERVICES.keys() - {"open-webui"}
    for name, wait in waits.items():
        assert wait["condition"] == "service_healthy"
        # compose refuses to start where a service of another profile is required.
        assert wait.get("required", True) is ("profiles" not in SERVICES[name])


def test_the_pages_health_is_what_it_says(server: Server) -> None:
    test = SERVICES["open-webui"]["healthcheck"]["test"]
    assert test[0] == "CMD"
    port = server.url.rpartition(":")[2]  # vLLM has /health where Open WebUI has it.
    asked = [part.replace("8080", port) for part in test[1:]]
    assert subprocess.run([sys.executable, *asked[1:]]).returncode == 0
    asked = [part.replace("8080", "9") for part in test[1:]]
    assert subprocess.run([sys.executable, *asked[1:]], capture_output=True).returncode != 0


def schema_check(file: Path) -> subprocess.CompletedProcess[str]:
    checker = own_environment("deploy").parent / "check-jsonschema"
    command = [checker, "--builtin-schema", "vendor.compose-spec", file]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_it_is_of_the_compose_specification(tmp_path: Path) -> None:
    done = schema_check(COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = compose()
    broken["services"]["clock"]["health_check"] = {}
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken))
    assert schema_check(tmp_path / "compose.yaml").returncode != 0


ASK_FOR_TOOLS = """
import asyncio, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

async def ask():
    async with streamable_http_client(sys.argv[1]) as streams:
        async with ClientSession(*streams[:2]) as session:
            await session.initialize()
            print(*[tool.name for tool in (await session.list_tools()).tools])
            if sys.argv[2:]:
                print(await session.call_tool(sys.argv[2], {"timezone": sys.argv[3]}))

asyncio.run(ask())
"""


@pytest.mark.slow
@pytest.mark.parametrize("name, tools, call", [
    ("clock", "get_current_time convert_time", ["get_current_time", "Asia/Seoul"]),
    ("search", "search fetch_content expand_link", []),
])
def test_the_mcp_servers_start_and_have_their_tools(
    name: str, tools: str, call: list[str], tmp_path: Path
) -> None:
    """With the locked versions, started as in compose.yaml but for the address."""
    python = own_environment("mcp")
    port = free_port()
    here = {
        "0.0.0.0": "127.0.0.1", f"{name}:8000": f"127.0.0.1:{port}",
        "--port=8000": f"--port={port}", "/opt/mcp": str(DEPLOY / "mcp"),
    }
    service = SERVICES[name]
    command = service.get("command", ["python3", "/opt/mcp/clock.py"])
    for theirs, ours in here.items():
        command = [part.replace(theirs, ours) for part in command]
    told = {
        key: value.replace(f"{name}:8000", f"127.0.0.1:{port}")
        for key, value in service["environment"].items()
    }
    if name == "clock":
        told |= {"CLOCK_HOST": "127.0.0.1", "CLOCK_PORT": str(port)}
    path = f"{python.parent}:{os.environ['PATH']}"
    with (tmp_path / "log").open("w") as log, subprocess.Popen(
        command, env={**os.environ, **told, "PATH": path}, stdout=log, stderr=log
    ) as running:
        try:
            wait_for_port(port, running, tmp_path / "log")
            asked = subprocess.run(
                [python, "-c", ASK_FOR_TOOLS, f"http://127.0.0.1:{port}/mcp", *call],
                capture_output=True, text=True,
            )
            refused = subprocess.run(
                [python, "-c", ASK_FOR_TOOLS, f"http://localhost:{port}/mcp"], capture_output=True
            )
        finally:
            running.terminate()
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.splitlines()[0] == tools
    if call:
        assert "+09:00" in asked.stdout
    # A page in somebody's browser that makes a name of its own lead here gets nothing.
    assert refused.returncode != 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def wait_for_port(port: int, running: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert running.poll() is None, log.read_text()
        with socket.socket() as connection:
            connection.settimeout(0.1)
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            running.wait(0.1)
        except subprocess.TimeoutExpired:
            pass
    raise AssertionError(log.read_text())
