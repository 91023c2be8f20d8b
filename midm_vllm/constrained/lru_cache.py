"""An LRU cache for several threads."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

import cachetools

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """``cachetools.LRUCache`` with a lock: it evicts the least recently used values.

    Args:
        maxsize: What the values may measure together.
        getsizeof: Measures a value.
    """

    def __init__(self, maxsize: int, getsizeof: Callable[[Value], int]) -> None:
        self._values: cachetools.LRUCache[Hashable, Value] = cachetools.LRUCache(
            maxsize, getsizeof
        )
        self._lock = Lock()

    def get(self, key: Hashable) -> Value | None:
        """Return the value of a key and mark it as used, or None."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> None:
        """Store a value, unless it measures more than the whole cache may."""
        with self._lock:
            try:
                self._values[key] = value
            except ValueError:
                pass
