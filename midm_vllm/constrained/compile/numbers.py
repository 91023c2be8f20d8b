"""Numbers in the terms of llguidance, whose arithmetic has limits of its own (seen in 1.7.6)."""

from __future__ import annotations

import json
import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context as Rounding, Decimal
from typing import TYPE_CHECKING

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_grammar import UNSATISFIABLE, Schema, part_error

if TYPE_CHECKING:
    from midm_vllm.constrained.compile.compiler import SchemaCompiler

_LOWER, _UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


def number_ways(
    compiler: SchemaCompiler, schema: Schema, place: str, is_integer: bool
) -> list[Schema]:
    """What a flat schema says of numbers, as schemas of which one has to hold."""
    bounds: Schema = {}
    for keyword in (*_LOWER, *_UPPER):
        if keyword not in schema:
            continue
        bound = schema[keyword]
        digits = len(str(bound) if isinstance(bound, int) else f"{bound:.17g}")
        if not compiler.findings.charge(digits ** 2 // 16, place):
            continue
        comparable = _comparable(bound, keyword)
        if comparable is None:
            compiler.findings.report(keyword, place, "no grammar compares numbers of that size")
        else:
            bounds[keyword] = comparable
    if not is_integer:
        _exclude_whole_bounds(bounds)
    if _is_empty(bounds, is_integer):
        return []
    step = schema.get("multipleOf")
    if step is not None and not (1e-9 <= step <= 1e9 and _is_counted(step, bounds)):
        compiler.findings.report("multipleOf", place, "it is no step that a grammar can count")
    elif step is not None and compiler.findings.charge(
        max(10 if bounds else 1, _units(step) // 10), place
    ):
        bounds["multipleOf"] = step
    is_plain = all(isinstance(each, int) and abs(each) < 10**9 for each in bounds.values())
    if is_plain and "multipleOf" not in bounds:
        return [bounds]
    type_name = "integer" if is_integer else "number"
    error = part_error(json.dumps({"type": type_name, **bounds}))
    if error and not error.startswith(UNSATISFIABLE):
        keyword = "multipleOf" if "multipleOf" in bounds else next(iter(bounds))
        compiler.findings.report(keyword, place, error)
        return [{}]
    return [] if error else [bounds]


def _exclude_whole_bounds(bounds: Schema) -> None:
    """Move whole bounds inwards that llguidance takes for included, though they are excluded.

    It does where all numbers between the bounds begin with the digits of that one.
    """
    low, high = _range(bounds)
    for excluded, included, direction, inner in (
        ("exclusiveMinimum", "minimum", 1, max), ("exclusiveMaximum", "maximum", -1, min),
    ):
        bound = bounds.get(excluded, 0.5)
        if high - low < 1 and bound == int(bound):
            moved = float(f"{bound + direction * max(1, abs(bound)) * 1e-9:.15g}")
            bounds[included] = inner(moved, bounds.get(included, moved))


def _is_empty(bounds: Schema, is_integer: bool) -> bool:
    """Whether no number is within the bounds."""
    low, high = _range(bounds)
    excludes_low = low == bounds.get("exclusiveMinimum")
    excludes_high = high == bounds.get("exclusiveMaximum")
    if is_integer and math.isfinite(low) and math.isfinite(high):
        first = math.floor(low) + 1 if excludes_low else math.ceil(low)
        last = math.ceil(high) - 1 if excludes_high else math.floor(high)
        return first > last
    return low > high or low == high and (excludes_low or excludes_high)


def _is_counted(step: float, bounds: Schema) -> bool:
    """Whether llguidance writes the multiples of a step that are within the bounds.

    It writes none below zero, and tells numbers apart by what is left of them when they are
    divided: large steps take more expressions than it has, and the answer ends there. Tried with
    a vocabulary of 131,072 tokens; twos and fives in a step cost it less.
    """
    low, high = _range(bounds)
    if high < 0 or bounds.get("exclusiveMaximum", 1) <= 0:
        return False
    units = rest = _units(step)
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return (
        units <= 250
        or units <= 1000 and rest <= 10
        or units <= 4000 and low <= 0 and high == math.inf
    )


def _range(bounds: Schema) -> tuple[float, float]:
    return (
        max((bounds[key] for key in _LOWER if key in bounds), default=-math.inf),
        min((bounds[key] for key in _UPPER if key in bounds), default=math.inf),
    )


def _units(step: float) -> int:
    """How many of its last digit's units a number has: 25 of 0.25, 1000 of 1000."""
    _, digits, exponent = Decimal(repr(step)).normalize().as_tuple()
    return int(int("".join(map(str, digits))) * 10 ** max(int(exponent), 0))


def _comparable(bound: int | float, keyword: str) -> int | float | None:
    """The nearest bound inside of the range that llguidance compares exactly."""
    is_upper = keyword in _UPPER
    if isinstance(bound, int) and abs(bound) < limits.EXACT_INTEGER:
        return bound
    if abs(bound) >= 10**15:
        if (bound > 0) != is_upper:
            return None
        power: int = 10 ** min(18, len(str(int(abs(bound)))) - 1)
        if keyword.startswith("exclusive") and power == abs(bound):
            power //= 10
        return power if is_upper else -power
    rounding = ROUND_FLOOR if is_upper else ROUND_CEILING
    return float(Rounding(prec=15, rounding=rounding).plus(Decimal(repr(bound))))
