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
#: Subpackage -> its own subpackages; each may import from those before it.
ORDERS = {
    "constrained": ("regex", "json_schema", "compile"),
    "serving": ("requests", "constraints"),
}
#: Files in one folder.
MAX_MODULES = 11


def subpackage(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def imported(file: Path) -> set[str]:
    """The package's modules and subpackages that a file imports from, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            module = node.module or ""
            modules |= {f"{module}.{alias.name}" for alias in node.names} if (
                module == "midm_vllm"
            ) else {module}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {module for module in modules if module.partition(".")[0] == "midm_vllm"}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(
    file.relative_to(PACKAGE)
))
def test_imports_point_one_way(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert {subpackage(module) for module in imported(file)} - {own} <= MAY_IMPORT[own]


@pytest.mark.parametrize("parent", ORDERS)
def test_subpackages_of_a_subpackage_import_one_way(parent: str) -> None:
    order = ORDERS[parent]
    assert {file.parent.name for file in (PACKAGE / parent).glob("*/__init__.py")} == set(order)
    for position, own in enumerate(order):
        later = tuple(f"midm_vllm.{parent}.{each}" for each in order[position + 1 :])
        for file in (PACKAGE / parent / own).glob("*.py"):
            assert not [module for module in imported(file) if module.startswith(later)]


@pytest.mark.parametrize(
    "folder", sorted({str(file.parent.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py")})
)
def test_a_folder_has_few_modules(folder: str) -> None:
    assert len(list((PACKAGE / folder).glob("*.py"))) <= MAX_MODULES


def test_the_subpackages_make_no_circle() -> None:
    rest = dict(MAY_IMPORT)
    while free := {name for name, needs in rest.items() if not needs & rest.keys()}:
        for name in free:
            del rest[name]
    assert not rest


def public_names() -> dict[str, list[str]]:
    """The table of public names in the package's docstring: module -> names."""
    entry = re.compile(r"^\* ``(midm_vllm\.\w+)``: (.*(?:\n  .*)*)", re.MULTILINE)
    return {
        module: re.findall(r"``(\w+)``", names)
        for module, names in entry.findall(midm_vllm.__doc__ or "")
    }


def test_what_is_public_is_there() -> None:
    public = public_names()
    modules = {"midm_vllm.offline", "midm_vllm.markup", "midm_vllm.chat", "midm_vllm.plugin"}
    assert public.keys() == modules
    assert "training_template" in public["midm_vllm.chat"]  # It is in the second line of its entry.
    for module, names in public.items():
        assert names and not [name for name in names if not hasattr(import_module(module), name)]
