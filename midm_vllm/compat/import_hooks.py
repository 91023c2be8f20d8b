"""Run a function once a module has been imported, without importing it.

vLLM loads its plugins in every process, engine cores and workers included, where most of what a
plugin changes is never imported. A process that does not use a part of vLLM does not pay for it.

``wrapt.register_post_import_hook`` does nearly the same and was tried (wrapt 2.5.2). It calls the
hook of a module that is half imported at once, and vLLM loads plugins from inside imports. It is
also not part of every vLLM installation, and this package works from a mounted folder without
dependencies of its own.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Callback = Callable[[ModuleType], None]


def when_imported(name: str, callback: Callback) -> None:
    """Call ``callback(module)`` each time that the module ``name`` has been executed.

    The call comes at once if the module is imported, otherwise when its import or a reload ends.
    Where another finder loads the module, or its import is under way, the call comes with the next
    import of anything.
    """
    _finder.add(name, callback)
    install()


def install() -> None:
    """Install the finder, again if it was removed, and make the calls that it has missed."""
    with _finder.lock:
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
    _finder.catch_up()


class _Finder:
    """Finds a module with the other finders, and has its loader report the end of the import."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {}
        #: The callbacks that have not been called yet.
        self._pending: list[tuple[str, Callback]] = []
        self.lock = threading.RLock()
        #: Which thread is looking for what: another finder may ask all finders, this one too.
        self._asking: set[tuple[int, str]] = set()

    def add(self, name: str, callback: Callback) -> None:
        with self.lock:
            self._callbacks.setdefault(name, []).append(callback)
            self._pending.append((name, callback))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        self.catch_up()
        asking = threading.get_ident(), name
        if name not in self._callbacks or asking in self._asking:
            return None
        self._asking.add(asking)
        try:
            for finder in sys.meta_path:
                find = None if finder is self else getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = find(name, path, target) if find else None
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                    return spec
            return None
        finally:
            self._asking.discard(asking)

    def catch_up(self) -> None:
        """Call back for the modules that were imported without this finder's loader."""
        for entry in list(self._pending):
            name, callback = entry
            module = sys.modules.get(name)
            if module is None or _is_under_way(module):
                continue
            with self.lock:
                if entry not in self._pending:
                    continue  # Another thread calls it.
                self._pending.remove(entry)
            callback(module)

    def executed(self, name: str, module: ModuleType) -> None:
        """Call back for a module that has been executed, now or once more."""
        with self.lock:
            self._pending = [entry for entry in self._pending if entry[0] != name]
            callbacks = list(self._callbacks[name])
        for callback in callbacks:
            callback(module)


class _Loader:
    """Loads as the module's own loader does, and gives way to it when the module is executed."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # An unfinished copy has none.
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        # A module may put another object in its place.
        self._finder.executed(name, sys.modules.get(name, module))


def _is_under_way(module: Any) -> bool:
    """Whether the module's import has begun and not ended."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


_finder = _Finder()
