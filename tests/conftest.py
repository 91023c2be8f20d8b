"""What the tests share: the small checkpoint, and real servers that last for the whole run.

With `--unit` only the files of `UNIT` run, without vLLM, on any Python that it supports.
A test marked `slow` (many processes, other releases, other frameworks, load) runs with `--all`, one
marked `web` (in a browser, which has to be there) with `--web` alone, and one marked `agents` (with
real coding agents, 1.5 GB to install) with `--agents` alone.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from devtools.checkpoint import build
from devtools.server import ENGINE_IN_ONE_PROCESS, MODEL, Server, run_server, serve_arguments
from shared_server import shared_server

if TYPE_CHECKING:
    import openai

#: What needs neither vLLM nor torch: for the Pythons that have no environment here.
UNIT = (
    "chat/test_chat_template.py", "chat/test_checkpoint_template.py",
    "chat/test_control_tokens.py", "chat/test_template_engines.py",
    "cli/test_check_tools.py", "compat/test_import_hooks.py",
    "constrained/test_formats.py", "constrained/test_lookahead.py",
    "constrained/test_soundness.py", "constrained/test_tool_schema.py",
    "markup/test_explain.py", "markup/test_markup.py", "markup/test_repairs.py",
    "package/test_imports.py", "package/test_offline.py",
)
SERVERS = {"server", "render_server", "checkpoint", "untrained_checkpoint"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unit", action="store_true", help="run what needs neither vLLM nor torch")
    parser.addoption("--all", action="store_true", help="run the tests marked slow, too")
    parser.addoption("--web", action="store_true", help="run the tests in a browser, and no other")
    parser.addoption(
        "--agents", action="store_true", help="run the tests with real coding agents, and no other"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("--unit") or collection_path.is_dir():
        return None
    return collection_path not in {Path(__file__).parent / name for name in UNIT} or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--unit"):
        served = [item for item in items if SERVERS.intersection(item.fixturenames)]
        config.hook.pytest_deselected(items=served)
        items[:] = [item for item in items if item not in served]
    apart = ("web", "agents")
    chosen = {name for name in apart if config.getoption(f"--{name}")}
    other = [item for item in items
             if chosen != {name for name in apart if item.get_closest_marker(name)}]
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
    from devtools.chat_completions import openai_client

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
