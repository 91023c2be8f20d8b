"""The latest used of what took long to make, up to a size in all; for several threads at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LatestUsed(Generic[Value]):
    """Values by their keys; those used the longest ago go where there is no room."""

    def __init__(self, room: int, size: Callable[[Value], int]) -> None:
        self._room = room
        self._size = size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, which is used by that; None where it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: Hashable, value: Value) -> None:
        """Keep a value, unless its key has one."""
        with self._lock:
            if key in self._values:
                return
            self._values[key] = value
            self._room -= self._size(value)
            while self._room < 0:
                _, oldest = self._values.popitem(last=False)
                self._room += self._size(oldest)
