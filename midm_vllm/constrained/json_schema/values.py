"""JSON values: numbers, when two values are equal, and of which types one is."""

from __future__ import annotations

import json
import math
from typing import Any

from midm_vllm.constrained import limits


def as_number(value: Any) -> int | float | None:
    """A JSON number, as an integer where it is one; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < limits.EXACT_INTEGER:
        return int(value)
    return value if isinstance(value, int) or math.isfinite(value) else None


def canonical(value: Any) -> str:
    """A text that equal JSON values share: ``1`` and ``1.0`` are equal, ``1`` and ``true`` not."""
    if isinstance(value, str):
        return f'"{value}"'
    return json.dumps(_with_integers(value), sort_keys=True)


def _with_integers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _with_integers(each) for key, each in value.items()}
    return [_with_integers(each) for each in value] if isinstance(value, list) else value


def size(value: Any) -> int:
    """The number of values in a value, and itself."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + sum(map(size, value)) if isinstance(value, list) else 1


def are_equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; Python alone takes ``1`` and ``true`` for equal."""
    return bool(one == other) and canonical(one) == canonical(other)


def types_of_value(value: Any) -> tuple[str, ...]:
    """The types of a value: a whole number has two."""
    if value is None:
        return ("null",)
    if isinstance(value, bool):
        return ("boolean",)
    if isinstance(value, (int, float)):
        return ("integer", "number") if value == value // 1 else ("number",)
    if isinstance(value, str):
        return ("string",)
    return ("array",) if isinstance(value, list) else ("object",)
