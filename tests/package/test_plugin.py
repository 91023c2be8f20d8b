"""vLLM finds the plugin, and loading it costs a process nothing it does not use."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.metadata import entry_points
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def run(code: str, python: Path | str = sys.executable, **environment: str) -> str:
    """What the code prints, in a process of its own."""
    done = subprocess.run(
        [str(python), "-c", code],
        capture_output=True, text=True, check=False, cwd="/", env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_vllm_finds_the_plugin() -> None:
    [plugin] = entry_points(group="vllm.general_plugins", name="midm")
    assert plugin.value == "midm_vllm.plugin:register"


def test_registering_imports_no_parser_no_model_no_torch_and_nothing_of_vllm() -> None:
    loaded = run(
        "import sys; before = set(sys.modules)\n"
        "from midm_vllm.plugin import register\n"
        "register(); register()\n"
        "print(*sorted(set(sys.modules) - before))"
    ).split()
    assert "midm_vllm.plugin" in loaded
    foreign = {"vllm", "torch", "transformers", "pydantic"}
    assert not foreign & {name.partition(".")[0] for name in loaded}
    ours = {"midm_vllm.markup", "midm_vllm.serving.tool_parser"}
    assert not ours & set(loaded)


@pytest.fixture(scope="module")
def api_server() -> list[str]:
    """What an API server of any model has loaded for the plugin, then for midm-parser."""
    return run(
        "import sys, vllm.entrypoints.openai.api_server; before = set(sys.modules)\n"
        "from midm_vllm.plugin import register; register()\n"
        "print(*sorted(set(sys.modules) - before))\n"
        "from vllm.tool_parsers import ToolParserManager\n"
        "print(ToolParserManager.get_tool_parser('midm-parser').__name__)"
    ).splitlines()[-2:]


def test_an_api_server_of_another_model_pays_for_no_parser_and_no_grammar(
    api_server: list[str]
) -> None:
    loaded = api_server[0].split()
    ours = {name for name in loaded if name.startswith("midm_vllm")}
    assert "midm_vllm.models.midm1.config" in ours
    assert not ours & {
        "midm_vllm.markup",
        "midm_vllm.serving.tool_parser",
        "midm_vllm.constrained.compile.compiler",
    }
    # The configurations' base classes.
    foreign = {name.rpartition(".")[2] for name in set(loaded) - ours}
    assert foreign <= {"configuration_gpt2", "configuration_llama"}


def test_parser_is_registered_where_vllm_was_imported(api_server: list[str]) -> None:
    assert api_server[1] == "MidmToolParser"


def test_parser_is_registered_before_vllm_is_imported() -> None:
    shown = run(
        "from midm_vllm.plugin import register; register()\n"
        "import sys\n"
        "from vllm.tool_parsers import ToolParserManager\n"
        "assert 'midm_vllm.serving.tool_parser' not in sys.modules\n"
        "print(ToolParserManager.get_tool_parser('midm-parser').__name__)"
    )
    assert shown.split()[-1] == "MidmToolParser"


def test_built_wheel_registers_the_parser_where_only_vllm_is(tmp_path: Path) -> None:
    """The wheel, installed in an environment that has vLLM but not this project."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(REPOSITORY)],
        check=True,
    )
    [wheel] = tmp_path.glob("midm_vllm-*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    [site_packages] = (tmp_path / "venv").glob("lib/python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
         "--target", str(site_packages), str(wheel)],
        check=True,
    )
    # vLLM and what it needs come from this environment, as plain modules: the
    # project's own editable installation stays behind.
    here = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    (site_packages / "vllm.pth").write_text("import sys; sys.path.append(%r)\n" % str(here))
    shown = run(
        "from vllm.plugins import load_general_plugins; load_general_plugins()\n"
        "from vllm.tool_parsers import ToolParserManager\n"
        "import midm_vllm; print(midm_vllm.__file__)\n"
        "print(ToolParserManager.get_tool_parser('midm-parser').__name__)",
        python,
    )
    *_, place, parser = shown.split()
    assert place.startswith(str(site_packages)) and parser == "MidmToolParser"
    data = subprocess.run(
        ["git", "ls-files", "midm_vllm"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.split()
    assert "midm_vllm/chat/templates/guard.jinja" in data
    assert [file for file in data if not (site_packages / file).exists()] == []
