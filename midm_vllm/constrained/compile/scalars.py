"""Numbers, texts and counts of a flat schema in the words of llguidance.

``Writer`` is what writing a flat schema needs of the rewriting around it: to write the schemas
inside, and to say what could not be said.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Protocol

from midm_vllm.constrained.json_schema.formats import FORMAT_PATTERNS, FORMATS
from midm_vllm.constrained.regex.rust_dialect import UnsupportedPattern, rust_patterns

Schema = dict[str, Any]

MAX_LENGTH = 50_000
#: Integers beyond are not told apart by everybody.
EXACT = 2**53
#: Steps of following a pattern that looks ahead.
STEPS_OF_A_NODE = 8
#: What a format costs llguidance, in nodes.
_FORMAT_COSTS = {
    "date": 5, "time": 4, "date-time": 10, "duration": 8, "email": 10, "hostname": 3, "ipv4": 4,
    "ipv6": 13, "uri": 25, "uuid": 3, "uri-template": 10, "uri-reference": 5, "iri-reference": 5,
}


class Writer(Protocol):
    #: Where a member is required that can have no value.
    impossible: str
    #: Patterns for the names of further members.
    other_names: set[str]

    def node(self, schema: Any, place: str, depth: int) -> Any:
        """A schema inside, rewritten."""

    def look_up(self, reference: str) -> Any:
        """What a reference means; None where it means nothing."""

    def free(self, keyword: str, place: str, reason: str) -> None:
        """Note that a keyword is not enforced."""

    def counts(self, nodes: int, place: str) -> bool:
        """Count what is written; False, with a finding, where there is no room for it."""


#: So many multiples of a step are written one by one where no grammar counts them.
_MOST_MULTIPLES = 100
_LOWER, _UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_BOUNDS = (*_LOWER, *_UPPER)


def write_numbers(writer: Writer, schema: Schema, written: Schema, place: str) -> None:
    """Write what a schema says of numbers."""
    for keyword in _BOUNDS:
        if keyword not in schema:
            continue
        bound = number(schema[keyword])
        if bound is None:
            writer.free(keyword, place, "it is no number")
            continue
        if not writer.counts(len(f"{bound:.17g}") ** 2 // 16, place):
            continue
        drawn_in = _drawn_in(bound, upper=keyword.endswith("aximum"))
        if drawn_in is None:
            writer.free(keyword, place, "no grammar compares numbers of that size")
        else:
            written[keyword] = drawn_in
    if "multipleOf" in schema:
        _write_step(writer, number(schema["multipleOf"]), written, place)
    shorter = _shorter_than_bounds(written)
    if shorter and writer.counts(len(shorter), place):
        bounds = {key: written.pop(key) for key in _BOUNDS if key in written}
        written["anyOf"] = [bounds, {"enum": shorter}]


def _write_step(writer: Writer, step: float | None, written: Schema, place: str) -> None:
    if step is not None and 1e-9 <= step <= 1e9:
        if _is_counted(step, written):
            least = 10 if written.keys() & set(_BOUNDS) else 1
            if writer.counts(max(least, _units(step) // 10), place):
                written["multipleOf"] = step
            return
        multiples = _multiples(step, written)
        if multiples:
            if writer.counts(len(multiples), place):
                for key in ("type", *_BOUNDS):
                    written.pop(key, None)
                written["enum"] = multiples
            return
    writer.free("multipleOf", place, "it is no step that a grammar can count")


def _is_counted(step: float, bounds: Schema) -> bool:
    """Whether llguidance (1.7.6) writes the multiples of a step that are within the bounds.

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


def _multiples(step: float, bounds: Schema) -> list[float]:
    """Those within the bounds; none where there are many, or where other types have a say."""
    low, high = _range(bounds)
    kind = bounds.get("type")
    if "enum" in bounds or kind not in ("integer", "number") or not (
        (high - low) / step <= _MOST_MULTIPLES
    ):
        return []
    exact = Decimal(repr(step))
    counts = range(math.floor(low / step) - 1, math.ceil(high / step) + 2)
    found = [number(float(count * exact)) for count in counts]
    return [
        each for each in found
        if each is not None and _is_within(each, bounds)
        and (kind == "number" or isinstance(each, int))
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
    """Numbers between the bounds that llguidance (1.7.6) takes to be out of them.

    They are those that a bound begins with: 0.1 and 0.12 below 0.123.
    """
    types = written.get("type", "number")
    if "multipleOf" in written or "enum" in written or (
        "number" not in (types if isinstance(types, list) else [types])
    ):
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


def _drawn_in(bound: int | float, upper: bool) -> int | float | None:
    """The nearest bound inside that llguidance compares exactly."""
    if isinstance(bound, int) and abs(bound) < EXACT:
        return bound
    if abs(bound) >= 10**15:
        if (bound > 0) != upper:
            return None
        power: int = 10 ** min(18, len(str(int(abs(bound)))) - 1)
        return power if upper else -power
    rounding = ROUND_FLOOR if upper else ROUND_CEILING
    rounded = Context(prec=15, rounding=rounding).plus(Decimal(repr(bound)))
    return float(rounded)


def number(value: Any) -> int | float | None:
    """A JSON number, as an integer where it is one; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    return value if isinstance(value, int) or math.isfinite(value) else None


def write_counts(
    writer: Writer, schema: Schema, written: Schema, place: str, kind: str, most: int
) -> None:
    """Write the least and the most of a ``kind``: Length, Items or Properties."""
    for keyword in (f"min{kind}", f"max{kind}"):
        if keyword not in schema:
            continue
        count = number(schema[keyword])
        if not isinstance(count, int) or count < 0:
            writer.free(keyword, place, "it is no count")
        elif kind == "Items" and not writer.counts(min(count, most) // 8, place):
            continue
        elif keyword.startswith("max"):
            written[keyword] = min(count, most)
        elif count > most:
            writer.free(keyword, place, f"no grammar counts further than {most}")
        elif count:
            written[keyword] = count


def write_text(writer: Writer, schema: Schema, written: Schema, place: str) -> None:
    """Write what a schema says of texts."""
    write_counts(writer, schema, written, place, "Length", MAX_LENGTH)
    named = schema.get("format")
    if not isinstance(named, str) or (
        named in _FORMAT_COSTS and not writer.counts(_FORMAT_COSTS[named], place)
    ):
        named = ""
    if named in FORMATS:
        written["format"] = FORMATS[named]
    patterns = list(FORMAT_PATTERNS.get(named, ()))
    if "pattern" in schema and writer.counts(cost_of_pattern(schema["pattern"]), place):
        try:
            found = rust_patterns(schema["pattern"])
            if writer.counts(found.steps // STEPS_OF_A_NODE, place):
                patterns = [*found.patterns, *patterns]
        except (UnsupportedPattern, TypeError) as error:
            writer.free("pattern", place, str(error))
    if patterns:
        written["pattern"], *others = patterns
        if others:
            written["allOf"] = [{"pattern": other} for other in others]


def cost_of_pattern(pattern: Any) -> int:
    """What it costs llguidance, in nodes."""
    if not isinstance(pattern, str):
        return 1
    beyond_ascii = 0 if pattern.isascii() else sum(map("\x7f".__lt__, pattern))
    return 1 + len(pattern) // 20 + beyond_ascii
