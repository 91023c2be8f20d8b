"""The package's subpackages import one way, and the public names are where the package says."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import midm_vllm

PACKAGE = Path(midm_vllm.__file__).parent
#: Subpackage (or module at the top) -> the subpackages it may import from, itself aside.
MAY_IMPORT = {
    "constants": set(),
    "envs": set(),
    "markup": set(),
    "compat": set(),
    "chat": set(),
    "constrained": {"markup"},
    "models": {"compat", "chat"},
    "serving": {"constants", "envs", "markup", "compat", "constrained", "chat"},
    "patches": {"constants", "compat", "chat", "serving", "models"},
    "plugin": {"compat", "patches"},
    "tool_parser_plugin": {"plugin"},
    "offline": {"markup"},
    "cli": {"__init__", "constants", "envs", "markup", "constrained", "compat", "chat", "serving",
            "plugin", "offline"},
    "__init__": set(),
    "__main__": {"cli"},
}


def subpackage(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def imported(file: Path) -> set[str]:
    """The package's subpackages that a file imports from, anywhere in it."""
    subpackages = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if (
                module == "midm_vllm"
            ) else [module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        subpackages |= {subpackage(name) for name in names if name.partition(".")[0] == "midm_vllm"}
    return subpackages


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(
    file.relative_to(PACKAGE)
))
def test_imports_point_one_way(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imported(file) - {own} <= MAY_IMPORT[own]


def test_the_subpackages_make_no_circle() -> None:
    rest = dict(MAY_IMPORT)
    while free := {name for name, needs in rest.items() if not needs & rest.keys()}:
        for name in free:
            del rest[name]
    assert not rest


def test_what_is_public_is_there() -> None:
    public = re.findall(r"^\* ``(midm_vllm\.\w+)``: (.*)$", midm_vllm.__doc__ or "", re.MULTILINE)
    assert public
    for module, names in public:
        for name in re.findall(r"``(\w+)``", names):
            assert hasattr(import_module(module), name)
