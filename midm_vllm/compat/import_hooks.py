"""Run a function once a module has been imported, without importing it.

vLLM loads its plugins in every process, engine core and workers included,
where most of what a plugin touches (tool parsers, the argument parser) is
never imported. Registering through these hooks leaves it so: a process that
does not use a part of vLLM does not pay for our registration with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader

Callback = Callable[[ModuleType], None]

_pending: dict[str, list[Callback]] = {}


def when_imported(name: str, callback: Callback) -> None:
    """Call ``callback(module)`` as soon as the module ``name`` is imported.

    At once if it is imported already; never if nobody imports it. An exception
    of the callback reaches whoever imports the module.
    """
    module = sys.modules.get(name)
    if module is not None:
        callback(module)
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _pending.setdefault(name, []).append(callback)


class _Finder:
    """A finder that finds nothing itself but watches the pending names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        callbacks = _pending.pop(name, None)
        if callbacks is None:
            return None
        # The name is no longer pending, so this asks the other finders.
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            _pending[name] = callbacks
            return spec
        spec.loader = _Loader(spec.loader, callbacks)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads as the module's own loader does, which may serve other modules too."""

    def __init__(self, loader: Loader, callbacks: list[Callback]) -> None:
        self._loader = loader
        self._callbacks = callbacks

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        try:
            self._loader.exec_module(module)
        except BaseException:
            # Whoever imports it next may have more luck.
            _pending[module.__name__] = self._callbacks
            raise
        for callback in self._callbacks:
            callback(module)


_finder = _Finder()
