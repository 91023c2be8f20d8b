"""A callback runs when, and only when, its module is executed, whatever else others do."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from midm_vllm.compat import import_hooks
from midm_vllm.compat.import_hooks import when_imported

Write = Callable[[str, str], str]


@pytest.fixture
def write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Write:
    """Write a module that can be imported under a name of its own."""
    monkeypatch.syspath_prepend(tmp_path)

    def write_module(name: str, source: str) -> str:
        name = f"hooked_{name}_in_{request.node.originalname}"
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    return write_module


def values_seen(name: str) -> list[int]:
    """The `VALUE` of a module, whenever a callback is called from now on."""
    seen: list[int] = []
    when_imported(name, lambda module: seen.append(module.VALUE))
    return seen


def test_a_callback_waits_for_the_import(write: Write) -> None:
    name = write("module", "VALUE = 7")
    seen = values_seen(name)
    when_imported(name, lambda module: seen.append(-module.VALUE))
    assert seen == []
    importlib.import_module(name)
    importlib.import_module(name)
    assert seen == [7, -7]


def test_a_callback_for_an_imported_module_runs_immediately_and_alone(write: Write) -> None:
    name = write("module", "VALUE = 7")
    importlib.import_module(name)
    first = values_seen(name)
    assert first == [7]
    assert values_seen(name) == [7]
    assert first == [7]


def test_a_callback_outlives_an_import_that_fails(write: Write) -> None:
    name = write("module", "raise OSError('not today')")
    seen = values_seen(name)
    with pytest.raises(OSError, match="not today"):
        importlib.import_module(name)
    assert seen == []
    assert write("module", "VALUE = 8") == name
    importlib.import_module(name)
    assert seen == [8]


def test_a_module_that_is_not_there_stays_not_there() -> None:
    when_imported("no_such_module_of_ours", lambda module: pytest.fail("called"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_ours"):
        importlib.import_module("no_such_module_of_ours")


def test_looking_for_the_module_calls_nothing(write: Write) -> None:
    name = write("module", "VALUE = 7")
    seen = values_seen(name)
    for _ in range(2):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        assert spec.loader.get_source(name) == "VALUE = 7"  # type: ignore[attr-defined]
    assert seen == []
    module = importlib.import_module(name)
    assert seen == [7]
    assert type(module.__loader__) is SourceFileLoader
    assert module.__spec__ is not None and module.__spec__.loader is module.__loader__


def test_a_reloaded_module_is_called_back_once_more(write: Write) -> None:
    name = write("module", "class Parser: pass")
    seen: list[type] = []
    when_imported(name, lambda module: seen.append(module.Parser))
    module = importlib.import_module(name)
    importlib.reload(module)
    assert len(seen) == 2
    assert seen[0] is not seen[1] and seen[1] is module.Parser


def test_a_callback_is_not_shown_a_module_that_is_half_imported(write: Write) -> None:
    """As where vLLM loads its plugins from inside an import."""
    seen: list[int] = []
    register = importlib.import_module(write("register", ""))
    register.now = lambda name: when_imported(  # type: ignore[attr-defined]
        name, lambda module: seen.append(module.VALUE)
    )
    name = write("module", f"import {register.__name__} as r\nr.now(__name__)\nVALUE = 7")
    importlib.import_module(name)
    importlib.import_module(write("other", ""))
    assert seen == [7]


def test_another_finder_that_asks_all_finders_changes_nothing(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write("module", "VALUE = 7")
    seen = values_seen(name)

    class Asking:
        is_asking = False

        def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
            if self.is_asking:
                return None
            self.is_asking = True
            try:
                return importlib.util.find_spec(name)
            finally:
                self.is_asking = False

    monkeypatch.setattr(sys, "meta_path", [Asking(), *sys.meta_path])
    importlib.import_module(name)
    assert seen == [7]


def test_what_another_finder_loads_is_called_back_with_the_next_import(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finder ahead of ours that asks nobody else, as those of run-time type checkers do."""
    name, other = write("module", "VALUE = 7"), write("other", "")
    seen = values_seen(name)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "meta_path", [PathFinder, *sys.meta_path])
        importlib.import_module(name)
    importlib.import_module(other)
    assert seen == [7]


def test_a_finder_that_was_taken_away_comes_back(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write("module", "VALUE = 7")
    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(sys, "meta_path", list(sys.meta_path))
        when_imported(name, lambda module: seen.append(module.VALUE))
    importlib.import_module(name)
    import_hooks.install()
    importlib.reload(sys.modules[name])
    assert seen == [7, 7]


def test_a_lazy_module_is_called_back_when_it_is_loaded(write: Write) -> None:
    """As the documentation of ``importlib.util.LazyLoader`` has it."""
    name = write("module", "VALUE = 7")
    seen = values_seen(name)
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert seen == []
    assert module.VALUE == 7
    assert seen == [7]


def test_what_stands_for_a_module_is_shown_to_the_callback(write: Write) -> None:
    """Transformers' packages put an object of their own into sys.modules."""
    name = write("module", (
        "import sys, types\nother = types.ModuleType(__name__)\nother.__spec__ = __spec__\n"
        "other.VALUE = 7\nsys.modules[__name__] = other"
    ))
    seen = values_seen(name)
    importlib.import_module(name)
    assert seen == [7]


def test_a_callback_that_hooks_the_same_module_is_called_once(write: Write) -> None:
    name = write("module", "")
    seen: list[str] = []

    def first(module: ModuleType) -> None:
        seen.append("first")
        when_imported(name, lambda module: seen.append("second"))

    when_imported(name, first)
    importlib.import_module(name)
    importlib.import_module(write("other", ""))
    assert seen == ["first", "second"]


def test_a_loader_of_the_old_kind_is_called_back_with_the_next_import(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "old_kind_of_ours"

    class Old:
        def find_spec(self, asked: str, *_: Any) -> ModuleSpec | None:
            return ModuleSpec(name, self) if asked == name else None  # type: ignore[arg-type]

        def load_module(self, asked: str) -> ModuleType:
            module = sys.modules[asked] = ModuleType(asked)
            module.VALUE = 7  # type: ignore[attr-defined]
            return module

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Old()])
    seen = values_seen(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(name)
    importlib.import_module(write("other", ""))
    assert seen == [7]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_every_process_registers_in_its_own_way(write: Write, method: str) -> None:
    """Forked processes have the hooks of their parent, spawned ones those they make."""
    name = write("module", "VALUE = 7")
    done = subprocess.run(
        [sys.executable, "-c", f'''
import multiprocessing, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from hooks_in_a_process import import_it
from midm_vllm.compat.import_hooks import when_imported
if __name__ == "__main__":
    sys.path.insert(0, {sys.path[0]!r})
    when_imported({name!r}, lambda module: print("told in the parent's hooks", flush=True))
    context = multiprocessing.get_context({method!r})
    process = context.Process(target=import_it, args=({name!r}, {sys.path[0]!r}))
    process.start(); process.join(); sys.exit(process.exitcode)
'''],
        capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr
    told = ["told in the parent's hooks"] if method == "fork" else []
    assert done.stdout.splitlines() == [*told, "told in the child's hooks"]
