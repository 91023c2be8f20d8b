"""An LRU cache for several threads."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

import cachetools

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """``cachetools.LRUCache`` with a lock. A value that measures more than all may is not kept."""

    def __init__(self, maxsize: int, getsizeof: Callable[[Value], int]) -> None:
        self._values: cachetools.LRUCache[Hashable, Value] = cachetools.LRUCache(
            maxsize, getsizeof
        )
        self._lock = Lock()

    def get(self, key: Hashable) -> Value | None:
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> None:
        if self._values.getsizeof(value) <= self._values.maxsize:
            with self._lock:
                self._values[key] = value
