"""Numbers in the terms of llguidance, whose arithmetic has limits of its own (seen in 1.7.6)."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context as Rounding, Decimal

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.context import Context
from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.values import as_number

_LOWER, _UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_BOUNDS = (*_LOWER, *_UPPER)


def number_ways(context: Context, schema: Schema, place: str, is_integer: bool) -> list[Schema]:
    """What a flat schema says of numbers, as schemas of which one has to hold."""
    written: Schema = {}
    for keyword in _BOUNDS:
        if keyword not in schema:
            continue
        bound = schema[keyword]
        if not context.findings.charge(len(f"{bound:.17g}") ** 2 // 16, place):
            continue
        comparable = _comparable(bound, keyword)
        if comparable is None:
            context.findings.report(keyword, place, "no grammar compares numbers of that size")
        else:
            written[keyword] = comparable
    if "multipleOf" in schema:
        multiples = _write_step(context, schema["multipleOf"], written, place, is_integer)
        if multiples is not None:
            return [{"enum": multiples}] if multiples else []
    shorter = [] if is_integer else _shorter_than_bounds(written)
    if shorter and context.findings.charge(len(shorter), place):
        return [written, {"enum": shorter}]
    return [written]


def _write_step(
    context: Context, step: float, written: Schema, place: str, is_integer: bool
) -> list[float] | None:
    """Write a step, or return the multiples where they are listed instead."""
    if 1e-9 <= step <= 1e9:
        if _is_counted(step, written):
            least = 10 if written.keys() & set(_BOUNDS) else 1
            if context.findings.charge(max(least, _units(step) // 10), place):
                written["multipleOf"] = step
            return None
        low, high = _range(written)
        if (high - low) / step <= limits.MAX_MULTIPLES:
            multiples = _multiples(step, written, is_integer)
            if context.findings.charge(len(multiples), place):
                return multiples
            return None
    context.findings.report("multipleOf", place, "it is no step that a grammar can count")
    return None


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


def _multiples(step: float, bounds: Schema, is_integer: bool) -> list[float]:
    low, high = _range(bounds)
    exact = Decimal(repr(step))
    counts = range(math.floor(low / step) - 1, math.ceil(high / step) + 2)
    found = [as_number(float(count * exact)) for count in counts]
    return [
        each for each in found
        if each is not None and _is_within(each, bounds)
        and (not is_integer or isinstance(each, int))
    ]


def _range(bounds: Schema) -> tuple[float, float]:
    return (
        max((bounds[key] for key in _LOWER if key in bounds), default=-math.inf),
        min((bounds[key] for key in _UPPER if key in bounds), default=math.inf),
    )


def _units(step: float) -> int:
    """How many of its last digit's units a number has: 25 of 0.25, 1000 of 1000."""
    _, digits, exponent = Decimal(repr(step)).normalize().as_tuple()
    return int(int("".join(map(str, digits))) * 10 ** max(int(exponent), 0))


def _shorter_than_bounds(written: Schema) -> list[float]:
    """Numbers between the bounds that llguidance takes to be out of them.

    They are those that a bound begins with: 0.1 and 0.12 below 0.123.
    """
    if "multipleOf" in written:
        return []
    inside = set()
    for keyword in _BOUNDS:
        bound = written.get(keyword)
        if isinstance(bound, float) and abs(bound) >= 1e-4:
            whole, _, digits = repr(bound).partition(".")
            inside |= {float(f"{whole}.{digits[:length]}") for length in range(1, len(digits))}
    return sorted(each for each in inside if _is_within(each, written))


def _is_within(value: float, bounds: Schema) -> bool:
    return bool(
        bounds.get("minimum", -math.inf) <= value <= bounds.get("maximum", math.inf)
        and bounds.get("exclusiveMinimum", -math.inf) < value
        and value < bounds.get("exclusiveMaximum", math.inf)
    )


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
