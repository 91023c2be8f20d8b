"""The package's rooms import one way, and the public names are where the package says."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import midm_vllm

PACKAGE = Path(midm_vllm.__file__).parent
#: Room (or module at the door) -> the rooms it may import from, itself aside.
MAY_IMPORT = {
    "names": set(),
    "markup": set(),
    "compat": set(),
    "chat": set(),
    "constrained": {"markup"},
    "models": {"compat", "chat"},
    "serving": {"names", "markup", "compat", "constrained", "chat"},
    "plugin": {"names", "compat", "chat", "serving", "models"},
    "tool_parser_plugin": {"plugin"},
    "offline": {"markup"},
    "doctor": {"names", "compat", "chat", "serving"},
    "doctor_tools": {"names", "constrained", "doctor"},
    "cli": {"markup", "chat", "offline", "doctor", "doctor_tools"},
    "__init__": set(),
    "__main__": {"cli"},
}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def imported(file: Path) -> set[str]:
    """The package's rooms that a file imports from, anywhere in it."""
    rooms = set()
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
        rooms |= {room(name) for name in names if name.partition(".")[0] == "midm_vllm"}
    return rooms


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(
    file.relative_to(PACKAGE)
))
def test_imports_point_one_way(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imported(file) - {own} <= MAY_IMPORT[own]


def test_the_rooms_make_no_circle() -> None:
    open_rooms = dict(MAY_IMPORT)
    while free := {name for name, needs in open_rooms.items() if not needs & open_rooms.keys()}:
        for name in free:
            del open_rooms[name]
    assert not open_rooms


def test_what_is_public_is_there() -> None:
    public = re.findall(r"^\* ``(midm_vllm\.\w+)``: (.*)$", midm_vllm.__doc__ or "", re.MULTILINE)
    assert public
    for module, names in public:
        for name in re.findall(r"``(\w+)``", names):
            assert hasattr(import_module(module), name)
