"""Run a function whenever a module is executed, without importing the module.

vLLM loads its plugins in every process, engine core and workers included,
where most of what a plugin touches (tool parsers, the argument parser) is
never imported. Registering through these hooks leaves it so: a process that
does not use a part of vLLM does not pay for our registration with it.

Others may look for the module without importing it, fail to import it, reload
it, load it lazily, be in the middle of importing it, in this thread or another,
or find it in ways of their own: a hook is used up by none of that, and a
callback never sees a module that is half made, nor the same execution twice.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Callback = Callable[[ModuleType], None]


def when_imported(name: str, callback: Callback) -> None:
    """Call ``callback(module)`` each time the module ``name`` has been executed.

    At once if it is imported already, when its import ends if that is under
    way, and again if it is reloaded, since that makes its content anew; never
    if nobody imports it. Where the import goes past our finder, because others
    have one ahead of it, the callback comes with the next import of anything.
    An exception of the callback reaches whoever imports the module, and the
    import fails, so that the next one calls it again.
    """
    _finder.hook(name, callback)


def catch_up() -> None:
    """Call the callbacks whose modules were imported past our finder, and find again from now on.

    For when somebody may have taken the finder away (a list of finders that was saved and put
    back); nobody has to call this otherwise.
    """
    _finder.install()
    _finder.catch_up()


class _Hook:
    """A callback, and the execution of its module that it was told of last."""

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        #: The spec, which each import and reload has anew; a module without one stands for itself.
        self.told_of: object = None


class _Finder:
    """Finds what the other finders find, with a loader that tells."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[_Hook]] = {}
        #: The names with a hook that was never told.
        self._untold: frozenset[str] = frozenset()
        self._lock = threading.RLock()
        #: Who is asking the other finders for what: one of them may ask us.
        self._asking: set[tuple[int, str]] = set()

    def install(self) -> None:
        with self._lock:
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)

    def hook(self, name: str, callback: Callback) -> None:
        self.install()
        with self._lock:
            self._hooks.setdefault(name, []).append(_Hook(callback))
            self._untold |= {name}
        # Another thread may have found the module before there was a hook, and not have it in
        # sys.modules yet: wait until it has. Where it waits for us, this returns.
        importlib._bootstrap._lock_unlock_module(name)  # type: ignore[attr-defined]
        self._look_at(name)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not sys.modules.keys().isdisjoint(self._untold):
            self.catch_up()
        asking = threading.get_ident(), name
        if name not in self._hooks or asking in self._asking:
            return None
        self._asking.add(asking)
        try:
            for finder in sys.meta_path:
                if finder is not self and hasattr(finder, "find_spec"):
                    spec = finder.find_spec(name, path, target)
                    if spec is not None:
                        _listen(spec, self)
                        return spec
            return None
        finally:
            self._asking.discard(asking)

    def catch_up(self) -> None:
        for name in self._untold:
            self._look_at(name)

    def _look_at(self, name: str) -> None:
        """Tell of a module that is there; see to it that its import's end tells if it has none."""
        module = sys.modules.get(name)
        if module is None or name in importlib._RELOADING:  # type: ignore[attr-defined]
            return
        spec = _spec(module)
        if isinstance(getattr(spec, "loader", None), _Loader):
            return  # Which tells when it has executed the module.
        if _is_lazy(module):
            _listen(spec, self)
        elif not getattr(spec, "_initializing", False):
            self.tell(name, module)
        elif type(spec) is ModuleSpec:
            spec.__class__ = _SpecUnderWay
            spec.__dict__["_finder"] = self

    def tell(self, name: str, module: ModuleType) -> None:
        """Call the callbacks that have not been told of this execution of the module."""
        execution = _spec(module) or module
        # Not a copy: a callback may hook the same module, and a list tells of what was added.
        for hook in self._hooks.get(name, ()):
            with self._lock:
                if hook.told_of is execution:
                    continue
                hook.told_of = execution
            try:
                hook.callback(module)
            except BaseException:
                hook.told_of = None
                raise
        with self._lock:
            if all(hook.told_of for hook in self._hooks.get(name, ())):
                self._untold -= {name}


class _Loader:
    """Loads as the module's own loader does, and is that loader for all who ask it more."""

    def __init__(self, loader: Any, name: str, finder: _Finder) -> None:
        self._loader = loader
        self._name = name
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # A copy that is not made yet has none.
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        was_lazy = _is_lazy(module)
        self._loader.exec_module(module)
        spec = _spec(module)
        if _is_lazy(module) and not was_lazy:
            # Its own loader is a lazy one, which has only got ready.
            _listen(spec, self._finder)
            return
        executed = sys.modules.get(self._name, module)
        if _spec(executed) is not spec:  # It may have put another in its place.
            executed = module
        self._finder.tell(self._name, executed)
        if spec is not None and spec.loader is self:
            spec.loader = module.__loader__ = self._loader


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
        if not under_way and module is not None and _spec(module) is self:
            self.__class__ = ModuleSpec
            try:
                self.__dict__.pop("_finder").tell(self.name, module)
            except BaseException:
                del sys.modules[self.name]  # As importlib does where a loader raises.
                raise


def _listen(spec: Any, finder: _Finder) -> None:
    """Give the spec a loader that tells; one of the old kind stays, and the finder catches up."""
    if hasattr(spec.loader, "exec_module") and not isinstance(spec.loader, _Loader):
        spec.loader = _Loader(spec.loader, spec.name, finder)


def _spec(module: Any) -> Any:
    """The spec of what stands in ``sys.modules``, without loading it if it is lazy."""
    try:
        return object.__getattribute__(module, "__dict__").get("__spec__")
    except AttributeError:
        return None


def _is_lazy(module: Any) -> bool:
    """Whether ``importlib.util.LazyLoader`` waits to execute it, or does so now."""
    return type(module) is importlib.util._LazyModule  # type: ignore[attr-defined]


_finder = _Finder()
