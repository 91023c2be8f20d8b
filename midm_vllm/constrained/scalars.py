"""Numbers, texts and counts of a flat schema in the words of llguidance.

``Writer`` is what writing a flat schema needs of the rewriting around it: to write the schemas
inside, and to say what could not be said.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Protocol

from midm_vllm.constrained.formats import FORMAT_PATTERNS, FORMATS
from midm_vllm.constrained.patterns import UnsupportedPattern, rust_patterns

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


_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


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
        step = number(schema["multipleOf"])
        if step is None or step <= 0 or step < 1e-9 or step > 1e9:
            writer.free("multipleOf", place, "it is no step that a grammar can count")
        elif writer.counts(10 if len(written.keys() & _BOUNDS) else 1, place):
            written["multipleOf"] = step
    shorter = _shorter_than_bounds(written)
    if shorter and writer.counts(len(shorter), place):
        bounds = {key: written.pop(key) for key in _BOUNDS if key in written}
        written["anyOf"] = [bounds, {"enum": shorter}]


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
    return sorted(
        number for number in inside
        if number >= written.get("minimum", number) and number <= written.get("maximum", number)
        and number > written.get("exclusiveMinimum", -math.inf)
        and number < written.get("exclusiveMaximum", math.inf)
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
