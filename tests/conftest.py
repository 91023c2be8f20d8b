"""What the tests share: the small checkpoint, and real servers that last for the whole run.

A test marked `slow` (many processes, other releases, other frameworks, load) runs with `--all`, one
marked `web` (in a browser, which has to be there) with `--web` alone.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from devtools.chat_completions import openai_client
from devtools.checkpoint import build
from devtools.server import ENGINE_IN_ONE_PROCESS, MODEL, Server, run_server, serve_arguments
from shared_server import shared_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests marked slow, too")
    parser.addoption("--web", action="store_true", help="run the tests in a browser, and no other")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    web = config.getoption("--web")
    other = [item for item in items if web != bool(item.get_closest_marker("web"))]
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if item not in other]
    if not config.getoption("--all"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    items.sort(key=lambda item: not any(map(item.get_closest_marker, ("first", "slow"))))


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The small checkpoint, taught `devtools.conversations`; built unless it is there already."""
    return build()


@pytest.fixture(scope="session")
def untrained_checkpoint() -> Path:
    """The small checkpoint with random weights: it says anything, and never ends its turn."""
    return build(trained=False)


@pytest.fixture(scope="session")
def renamed_checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same re-exported under Mi:dm's own name, which vLLM does not know without the plugin."""
    renamed = shutil.copytree(checkpoint, tmp_path_factory.mktemp("renamed") / "checkpoint")
    config = json.loads((renamed / "config.json").read_text())
    config |= {"architectures": ["MidmForCausalLM"], "model_type": "midm"}
    (renamed / "config.json").write_text(json.dumps(config))
    return renamed


@pytest.fixture(scope="session")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`vllm serve` as a user starts it; nothing but the parser is named."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # What pytest's processes have in common.
    arguments = serve_arguments(checkpoint)
    with shared_server(arguments, folder, ENGINE_IN_ONE_PROCESS) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> openai.OpenAI:
    return openai_client(server)


@pytest.fixture(scope="session")
def render_server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A vLLM that renders prompts and parses outputs, without an engine."""
    arguments = ["launch", "render", str(checkpoint), "--served-model-name", MODEL]
    arguments += ["--tool-call-parser", "midm-parser", "--max-model-len", "200000"]
    log = tmp_path_factory.mktemp("render") / "vllm.log"
    with run_server(arguments, log, {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}) as running:
        yield running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
