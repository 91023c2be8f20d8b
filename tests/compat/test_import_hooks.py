"""A callback runs when, and only when, its module is executed, whatever else others do."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from midm_vllm.compat.import_hooks import catch_up, when_imported

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
    """The `VALUE` of a module, whenever a callback is told of it from now on."""
    seen: list[int] = []
    when_imported(name, lambda module: seen.append(module.VALUE))
    return seen


def test_callback_waits_for_the_import(write: Write) -> None:
    name = write("module", "VALUE = 7")
    seen = values_seen(name)
    when_imported(name, lambda module: seen.append(-module.VALUE))
    assert seen == []
    importlib.import_module(name)
    importlib.import_module(name)
    assert seen == [7, -7]


def test_callback_of_an_imported_module_runs_at_once(write: Write) -> None:
    name = write("module", "VALUE = 7")
    importlib.import_module(name)
    seen = values_seen(name)
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


def test_looking_for_the_module_does_not_use_the_hook_up(write: Write) -> None:
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


def test_a_module_that_others_load_from_its_spec_tells_too(write: Write) -> None:
    name = write("module", "VALUE = 7")
    seen = values_seen(name)
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert seen == [7]


def test_callback_is_not_shown_a_module_that_is_half_imported(write: Write) -> None:
    seen: list[int] = []
    register = write("register", (
        "from midm_vllm.compat.import_hooks import when_imported\n"
        "def now(name, seen): when_imported(name, lambda module: seen.append(module.VALUE))\n"
    ))
    importlib.import_module(register).SEEN = seen  # type: ignore[attr-defined]
    name = write("module", (
        f"import {register}\n{register}.now(__name__, {register}.SEEN)\n"
        f"assert {register}.SEEN == []\nVALUE = 7\n"
    ))
    module = importlib.import_module(name)
    assert seen == [7]
    assert type(module.__spec__) is ModuleSpec


def test_a_half_import_that_fails_is_told_of_when_it_succeeds(write: Write) -> None:
    seen: list[int] = []

    def hook(name: str) -> None:
        when_imported(name, lambda module: seen.append(module.VALUE))

    monkey = importlib.import_module(write("monkey", ""))
    monkey.hook = hook  # type: ignore[attr-defined]
    source = f"import {monkey.__name__} as m\nif not hasattr(m, 'done'): m.hook(__name__)\n"
    name = write("module", f"{source}m.done = True\nraise OSError('not today')")
    with pytest.raises(OSError, match="not today"):
        importlib.import_module(name)
    assert seen == []
    assert write("module", f"{source}VALUE = 8") == name
    importlib.import_module(name)
    assert seen == [8]


def test_a_half_import_whose_callback_raises_fails_and_the_next_calls_again(write: Write) -> None:
    seen: list[int] = []

    def callback(module: ModuleType) -> None:
        seen.append(module.VALUE)
        if len(seen) == 1:
            raise OSError("not yet")

    monkey = importlib.import_module(write("monkey", ""))
    monkey.hook = lambda name: when_imported(name, callback)  # type: ignore[attr-defined]
    name = write("module", (
        f"import {monkey.__name__} as m\n"
        "if not hasattr(m, 'done'): m.hook(__name__)\nm.done = True\nVALUE = 7"
    ))
    with pytest.raises(OSError, match="not yet"):
        importlib.import_module(name)
    assert name not in sys.modules
    importlib.import_module(name)
    assert seen == [7, 7]


def test_after_a_callback_that_raised_the_next_import_calls_all_again(write: Write) -> None:
    name = write("module", "VALUE = 7")
    seen: list[str] = []
    when_imported(name, lambda module: seen.append("first"))

    def second(module: ModuleType) -> None:
        seen.append("second")
        if len(seen) == 2:
            raise OSError("not yet")

    when_imported(name, second)
    with pytest.raises(OSError, match="not yet"):
        importlib.import_module(name)
    assert name not in sys.modules
    importlib.import_module(name)
    assert seen == ["first", "second"] * 2


def test_a_reloaded_module_is_told_of_once_more(write: Write) -> None:
    name = write("module", "class Parser: pass")
    seen: list[type] = []
    when_imported(name, lambda module: seen.append(module.Parser))
    module = importlib.import_module(name)
    importlib.reload(module)
    assert len(seen) == 2
    assert seen[0] is not seen[1] and seen[1] is module.Parser


def test_a_hook_put_ahead_of_ours_changes_nothing(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another tool's finder, which finds by asking the others, as ours does."""
    name = write("module", "VALUE = 7")
    seen = values_seen(name)

    class Asking:
        asked = False

        def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
            if self.asked:
                return None
            self.asked = True
            try:
                return importlib.util.find_spec(name)
            finally:
                self.asked = False

    monkeypatch.setattr(sys, "meta_path", [Asking(), *sys.meta_path])
    importlib.import_module(name)
    assert seen == [7]


def test_what_is_found_past_our_finder_is_told_of_with_the_next_import(
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
    catch_up()
    importlib.reload(sys.modules[name])
    assert seen == [7, 7]


def lazily(name: str) -> ModuleType:
    """As the documentation of ``importlib.util.LazyLoader`` has it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("first", ["hook", "module"])
def test_a_lazy_module_is_told_of_when_it_is_loaded_and_no_sooner(
    write: Write, first: str
) -> None:
    name = write(f"{first}_first", "VALUE = 7\nimport sys\nsys.modules[__name__ + '_loaded'] = sys")
    module = lazily(name) if first == "module" else None
    seen = values_seen(name)
    module = module or lazily(name)
    importlib.import_module(write("other", ""))
    assert seen == [] and f"{name}_loaded" not in sys.modules
    assert module.VALUE == 7
    assert seen == [7]


def test_a_finder_whose_loader_is_lazy_is_told_of_when_it_is_loaded(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write("module", "VALUE = 7")
    seen = values_seen(name)

    class Lazy:
        def find_spec(self, asked: str, *more: Any) -> ModuleSpec | None:
            spec = PathFinder.find_spec(asked, *more) if asked == name else None
            if spec is not None and spec.loader is not None:
                spec.loader = importlib.util.LazyLoader(spec.loader)
            return spec

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path[:1], Lazy(), *sys.meta_path[1:]])
    module = importlib.import_module(name)
    assert seen == []
    assert module.VALUE == 7
    assert seen == [7]


def test_a_callback_that_hooks_the_same_module_is_heard_once(write: Write) -> None:
    name = write("module", "")
    seen: list[str] = []

    def first(module: ModuleType) -> None:
        seen.append("first")
        when_imported(name, lambda module: seen.append("second"))

    when_imported(name, first)
    importlib.import_module(name)
    assert seen == ["first", "second"]


def test_a_hook_made_while_other_threads_import_is_told_once(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding a module and showing it in sys.modules, an import cannot be seen."""
    name = write("module", "VALUE = 7")
    found, hooked = threading.Event(), threading.Event()
    seen: list[int] = []

    class Slow:
        def find_spec(self, asked: str, *more: Any) -> ModuleSpec | None:
            if asked != name or found.is_set():
                return None
            spec = PathFinder.find_spec(asked, *more)
            found.set()
            hooked.wait(0.2)  # The hook waits for us; if it does not, it is too early.
            return spec

    monkeypatch.setattr(sys, "meta_path", [Slow(), *sys.meta_path])
    importing = threading.Thread(target=importlib.import_module, args=(name,))
    importing.start()
    found.wait()
    when_imported(name, lambda module: seen.append(module.VALUE))
    hooked.set()
    importing.join()
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


def test_what_is_no_module_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "no_module_at_all", object())
    seen: list[object] = []
    when_imported("no_module_at_all", seen.append)
    assert len(seen) == 1


def test_a_loader_of_the_old_kind_is_told_of_with_the_next_import(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "old_kind_of_ours"
    seen: list[int] = []

    class Old:
        def find_spec(self, asked: str, *_: object) -> ModuleSpec | None:
            return ModuleSpec(name, self) if asked == name else None  # type: ignore[arg-type]

        def load_module(self, asked: str) -> ModuleType:
            module = sys.modules[asked] = ModuleType(asked)
            module.VALUE = 7  # type: ignore[attr-defined]
            return module

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Old()])
    when_imported(name, lambda module: seen.append(module.VALUE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(name)
    importlib.import_module(write("other", ""))
    assert seen == [7]


def test_this_package_imported_twice_neither_loops_nor_loses_a_hook(write: Write) -> None:
    """Two copies, each with a finder that asks the other; and one that is reloaded."""
    name = write("module", "")
    code = f"""
import importlib, sys
sys.path.insert(0, {sys.path[0]!r})
import midm_vllm.compat.import_hooks as hooks
hooks.when_imported({name!r}, lambda module: print("first"))
importlib.reload(hooks)
del sys.modules[hooks.__name__]
again = importlib.import_module(hooks.__name__)
again.when_imported({name!r}, lambda module: print("second"))
importlib.import_module({name!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert sorted(done.stdout.split()) == ["first", "second"], done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
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
