"""A callback runs when, and only when, its module is imported."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from midm_vllm.compat.import_hooks import when_imported

Write = Callable[[str, str], str]


@pytest.fixture
def write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Write:
    """Write a module that can be imported under a name of its own."""
    monkeypatch.syspath_prepend(tmp_path)

    def write_module(name: str, source: str) -> str:
        name = f"{request.node.name}_{name}"
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    return write_module


def test_callback_waits_for_the_import(write: Write) -> None:
    name = write("module", "VALUE = 7")
    seen: list[int] = []
    when_imported(name, lambda module: seen.append(module.VALUE))
    when_imported(name, lambda module: seen.append(-module.VALUE))
    assert seen == []
    importlib.import_module(name)
    importlib.import_module(name)
    assert seen == [7, -7]


def test_callback_of_an_imported_module_runs_at_once(write: Write) -> None:
    name = write("module", "VALUE = 7")
    importlib.import_module(name)
    seen: list[int] = []
    when_imported(name, lambda module: seen.append(module.VALUE))
    assert seen == [7]


def test_callback_outlives_an_import_that_fails(write: Write) -> None:
    name = write("module", "raise OSError('not today')")
    seen: list[str] = []
    when_imported(name, lambda module: seen.append(module.__name__))
    with pytest.raises(OSError, match="not today"):
        importlib.import_module(name)
    assert seen == []
    assert write("module", "VALUE = 'another day'") == name
    importlib.import_module(name)
    assert seen == [name]


def test_a_module_that_is_not_there_stays_not_there() -> None:
    when_imported("no_such_module_of_ours", lambda module: pytest.fail("called"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_ours"):
        importlib.import_module("no_such_module_of_ours")
