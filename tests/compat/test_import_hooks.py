"""A callback runs when, and only when, its module is executed, whatever else others do."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

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
        name = f"hooked_{name}_in_{request.node.originalname}"
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


def test_looking_for_the_module_does_not_use_the_hook_up(write: Write) -> None:
    name = write("module", "VALUE = 7")
    seen: list[int] = []
    when_imported(name, lambda module: seen.append(module.VALUE))
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
    seen: list[int] = []
    when_imported(name, lambda module: seen.append(module.VALUE))
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
    seen: list[int] = []
    when_imported(name, lambda module: seen.append(module.VALUE))

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
