"""The parser reaches vLLM from a mounted folder, and by name.

The Python that runs vLLM here shares every package of the test's own but midm-vllm, so that what
answers can only have come the way that the test is about.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from devtools.chat_completions import both, expected, openai_client, request
from devtools.conversations import BY_NAME
from devtools.server import ENVIRONMENT, run_server, serve_arguments

ROOT = Path(__file__).resolve().parents[2]
ASKED = ["parallel_calls_in_one_block", "prose_then_call", "call_without_arguments"]
VLLM = ("-c", "from vllm.entrypoints.cli.main import main; main()")
WHERE = "import midm_vllm; print(midm_vllm.__file__)"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has all packages of this one, but no midm-vllm."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, with_pip=False, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    for package in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "midm" not in package.name and not (packages / package.name).exists():
            (packages / package.name).symlink_to(package)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pip install --no-deps --target` makes it."""
    folder = tmp_path_factory.mktemp("mounted")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", str(folder), str(ROOT)],
        check=True,
    )  # fmt: skip
    return folder


def run(python: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, *arguments],
        env={**ENVIRONMENT, **os.environ, "PYTHONPATH": path},
        cwd=python.parent, capture_output=True, text=True,
    )  # fmt: skip


def test_only_the_mounted_folder_has_the_package(python: Path, mounted: Path) -> None:
    assert "No module named 'midm_vllm'" in run(python, "-c", WHERE).stderr
    found = run(python, "-c", WHERE, path=str(mounted))
    assert Path(found.stdout.strip()) == mounted / "midm_vllm" / "__init__.py"


def test_a_mounted_folder_on_the_path_serves(
    python: Path, mounted: Path, checkpoint: Path, tmp_path: Path
) -> None:
    environment = {"PYTHONPATH": str(mounted)}
    log = tmp_path / "vllm.log"
    command = (str(python), *VLLM)
    with run_server(serve_arguments(checkpoint), log, environment, command) as server:
        for name in ASKED:
            answers = both(openai_client(server), request(BY_NAME[name]))
            assert answers == (expected(BY_NAME[name]),) * 2
    assert "Auto tool choice: on" in log.read_text(errors="replace")


def test_a_package_without_metadata_serves_by_the_name_of_its_plugin(
    python: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "midm_vllm").symlink_to(ROOT / "midm_vllm")
    # From 0.33 the module's name will do; the path of its file does in every release.
    plugin = str(tmp_path / "midm_vllm" / "tool_parser_plugin.py")
    arguments = serve_arguments(
        checkpoint, "--tool-parser-plugin", plugin, "--enable-auto-tool-choice"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    command = (str(python), *VLLM)
    with run_server(arguments, tmp_path / "vllm.log", environment, command) as server:
        for name in ASKED:
            answers = both(openai_client(server), request(BY_NAME[name]))
            assert answers == (expected(BY_NAME[name]),) * 2
