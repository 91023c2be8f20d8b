"""Run a function whenever a module is executed, without importing the module.

vLLM loads its plugins in every process, engine core and workers included,
where most of what a plugin touches (tool parsers, the argument parser) is
never imported. Registering through these hooks leaves it so: a process that
does not use a part of vLLM does not pay for our registration with it.

Others may look for the module without importing it, fail to import it, reload
it, or be in the middle of importing it: a hook is used up by none of that, and
a callback never sees a module that is half made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Callback = Callable[[ModuleType], None]

_callbacks: dict[str, list[Callback]] = {}


def when_imported(name: str, callback: Callback) -> None:
    """Call ``callback(module)`` each time the module ``name`` has been executed.

    At once if it is imported already, when its import ends if that is under
    way, and again if it is reloaded, since that makes its content anew; never
    if nobody imports it. An exception of the callback reaches whoever imports
    the module, and the import fails, so that the next one calls it again.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _callbacks.setdefault(name, []).append(callback)
    module = sys.modules.get(name)
    if module is None:
        return
    spec = module.__spec__
    if spec is None or not getattr(spec, "_initializing", False):
        callback(module)
    elif not isinstance(spec.loader, _Loader):
        spec.__class__ = _SpecUnderWay


class _Finder:
    """Finds what the other finders find, with a loader that tells."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _callbacks:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if spec.loader is not None:
                        spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                    return spec
        return None


class _Loader:
    """Loads as the module's own loader does, and is that loader for all who ask it more."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # A copy that is not made yet has none.
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        spec: Any = module.__spec__
        if spec is not None and spec.loader is self:
            spec.loader = module.__loader__ = self._loader
        _tell(module)


class _SpecUnderWay(ModuleSpec):
    """The spec of a module whose import began before its hook; importlib resets a flag at the end.

    CPython's ``importlib._bootstrap._load_unlocked`` does, in every version to 3.14.
    """

    @property
    def _initializing(self) -> bool:
        return bool(self.__dict__.get("_initializing"))

    @_initializing.setter
    def _initializing(self, under_way: bool) -> None:
        self.__dict__["_initializing"] = under_way
        module = sys.modules.get(self.name)
        # Where the import failed, the module is gone, and the next one comes through the finder.
        if not under_way and module is not None and module.__spec__ is self:
            self.__class__ = ModuleSpec  # type: ignore[assignment]
            try:
                _tell(module)
            except BaseException:
                del sys.modules[self.name]  # As importlib does where a loader raises.
                raise


def _tell(module: ModuleType) -> None:
    for callback in _callbacks.get(module.__name__, ()):
        callback(module)


_finder = _Finder()
