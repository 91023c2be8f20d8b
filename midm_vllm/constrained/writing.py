"""A flat schema (types, values, numbers, text, items, members) in the words of llguidance.

``Writer`` is what it needs of the rewriting around it: to write the schemas inside, and to
say what could not be said.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Protocol

from midm_vllm.constrained.contradiction import choices, same
from midm_vllm.constrained.formats import FORMAT_PATTERNS, FORMATS, UUID
from midm_vllm.constrained.merging import OBJECT_KEYWORDS, is_impossible, is_named_by_pattern
from midm_vllm.constrained.patterns import UnsupportedPattern, all_but, rust_pattern, rust_patterns
from midm_vllm.constrained.vocabulary import ANNOTATIONS, TYPES

Schema = dict[str, Any]

# What llguidance's parser and lexer can have open at once, with room to spare.
MAX_OPTIONAL = 400
MAX_LENGTH = 50_000
MAX_ITEMS = 5_000
#: Names longer than this together are not told apart from further members' names.
MAX_NAMES = 2_000
#: Arrays without the same item twice are listed, up to as many.
MAX_ARRAYS = 100
#: Ways to choose a number of members.
MAX_CHOICES = 64
_EXACT = 2**53
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

    def node(self, schema: Any, place: str, depth: int) -> Any:
        """A schema inside, rewritten."""

    def free(self, keyword: str, place: str, reason: str) -> None:
        """Note that a keyword is not enforced."""

    def counts(self, nodes: int, place: str) -> bool:
        """Count what is written; False, with a finding, where there is no room for it."""


def write_flat(writer: Writer, schema: Schema, place: str, depth: int) -> Any:
    """A schema without combining keywords; False where nothing is valid by it."""
    schema = _with_room(schema)
    counted = _by_count(schema)
    if counted == []:
        return _write_no_object(writer, schema, place, depth)
    if counted is not None:
        if not writer.counts(len(counted), place):
            return {}
        return {"anyOf": [write_flat(writer, each, place, depth) for each in counted]}
    if is_impossible({"type": "object", **schema}):
        return _write_no_object(writer, schema, place, depth)
    written: Schema = {}
    _types(writer, schema, written, place)
    if not _values(writer, schema, written, place):
        return False
    _numbers(writer, schema, written, place)
    _text(writer, schema, written, place)
    _items(writer, schema, written, place, depth)
    if not _members(writer, schema, written, place, depth):
        return _write_no_object(writer, schema, place, depth)
    for keyword, reason in _UNSAID.items():
        if keyword in schema and schema[keyword] not in (True, {}):
            writer.free(keyword, place, reason)
    beside = [write_flat(writer, each, place, depth) for each in schema.get("allOf", ())]
    if beside:
        written.setdefault("allOf", []).extend(beside)
    return written


_UNSAID = {
    "contains": "a grammar cannot look for an item",
    "unevaluatedItems": "it is enforced as 'items' only",
    "$dynamicRef": "only '$ref' is followed",
    "$recursiveRef": "only '$ref' is followed",
}


def _write_no_object(writer: Writer, schema: Schema, place: str, depth: int) -> Any:
    """A schema by which no object is valid."""
    named = schema.get("type", list(TYPES))
    kinds = [kind for kind in (named if isinstance(named, list) else [named]) if kind != "object"]
    if not kinds or schema.get("enum") == []:
        return False
    of_objects = {*OBJECT_KEYWORDS, "minProperties", "maxProperties"}
    rest = {key: value for key, value in schema.items() if key not in of_objects}
    return write_flat(writer, {**rest, "type": kinds}, place, depth)


def _types(writer: Writer, schema: Schema, written: Schema, place: str) -> None:
    if "type" not in schema:
        return
    named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if named and all(isinstance(name, str) and name in TYPES for name in named):
        written["type"] = schema["type"]
    else:
        writer.free("type", place, f"{schema['type']!r:.80} is no type")


def _values(writer: Writer, schema: Schema, written: Schema, place: str) -> bool:
    kept: dict[str, Any] | None = None
    for keyword in ("enum", "const"):
        if keyword not in schema:
            continue
        values = choices({keyword: schema[keyword]})
        if values is None:
            writer.free(keyword, place, "it is no list of values")
            continue
        if not writer.counts(_cost_of_values(values), place):
            return True
        exact = {same(each): each for each in values if _is_exact(each)}
        if values and not exact:
            writer.free(keyword, place, "no grammar writes numbers of more than 53 bits exactly")
            continue
        kept = exact if kept is None else {key: kept[key] for key in kept if key in exact}
    if kept is not None:
        written["enum"] = list(kept.values())
    return kept is None or bool(kept)


def _cost_of_values(values: Sequence[Any]) -> int:
    inside = sum(len(json.dumps(each)) for each in values if isinstance(each, (list, dict)))
    texts = sum(len(each) for each in values if isinstance(each, str))
    return len(values) // 8 + inside // 5 + texts // 50


def _is_exact(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(_is_exact, inside))
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) < 1e15
    return isinstance(value, bool) or not isinstance(value, int) or abs(value) < _EXACT


_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _numbers(writer: Writer, schema: Schema, written: Schema, place: str) -> None:
    for keyword in _BOUNDS:
        if keyword not in schema:
            continue
        bound = _number(schema[keyword])
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
        step = _number(schema["multipleOf"])
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
    if isinstance(bound, int) and abs(bound) < _EXACT:
        return bound
    if abs(bound) >= 10**15:
        if (bound > 0) != upper:
            return None
        power: int = 10 ** min(18, len(str(int(abs(bound)))) - 1)
        return power if upper else -power
    rounding = ROUND_FLOOR if upper else ROUND_CEILING
    rounded = Context(prec=15, rounding=rounding).plus(Decimal(repr(bound)))
    return float(rounded)


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value if isinstance(value, int) or math.isfinite(value) else None


def _counts(
    writer: Writer, schema: Schema, written: Schema, place: str, kind: str, most: int
) -> None:
    for keyword in (f"min{kind}", f"max{kind}"):
        if keyword not in schema:
            continue
        count = _number(schema[keyword])
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


def _text(writer: Writer, schema: Schema, written: Schema, place: str) -> None:
    _counts(writer, schema, written, place, "Length", MAX_LENGTH)
    named = schema.get("format")
    if not isinstance(named, str) or (
        named in _FORMAT_COSTS and not writer.counts(_FORMAT_COSTS[named], place)
    ):
        named = ""
    if named in FORMATS:
        written["format"] = FORMATS[named]
    patterns = list(FORMAT_PATTERNS.get(named, ()))
    if "pattern" in schema and writer.counts(_cost_of_pattern(schema["pattern"]), place):
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


def _cost_of_pattern(pattern: Any) -> int:
    if not isinstance(pattern, str):
        return 1
    beyond_ascii = 0 if pattern.isascii() else sum(map("\x7f".__lt__, pattern))
    return 1 + len(pattern) // 20 + beyond_ascii


def _items(writer: Writer, schema: Schema, written: Schema, place: str, depth: int) -> None:
    _counts(writer, schema, written, place, "Items", MAX_ITEMS)
    prefix = schema.get("prefixItems", [])
    if isinstance(prefix, list) and prefix:
        written["prefixItems"] = [
            writer.node(item, f"{place}.prefixItems[{number}]", depth)
            for number, item in enumerate(prefix)
        ]
    items = schema.get("items", schema.get("unevaluatedItems", True))
    if items is not True:
        written["items"] = writer.node(items, f"{place}.items", depth)
    if schema.get("uniqueItems") is True and written.get("maxItems", 2) > 1:
        if "anyOf" in written:  # Of its numbers, some of which are given up then.
            written |= written.pop("anyOf")[0]
        arrays = None if prefix else _arrays_without_repetition(written)
        if arrays is None:
            writer.free("uniqueItems", place, "its items are too many to be counted")
        elif writer.counts(2 * len(arrays), place):
            for keyword in ("items", "minItems", "maxItems"):
                written.pop(keyword, None)
            written["anyOf"] = [{"enum": arrays}] if "type" in written else [
                {"enum": arrays}, {"type": [kind for kind in TYPES if kind != "array"]}
            ]


def _arrays_without_repetition(written: Schema) -> list[list[Any]] | None:
    items = written.get("items")
    if not isinstance(items, dict):
        return None
    values = [True, False] if items == {"type": "boolean"} else choices(items)
    if values is None or not items.keys() <= {"enum", "type"} or len(values) > 8:
        return None
    sizes = range(written.get("minItems", 0), min(len(values), written.get("maxItems", 99)) + 1)
    if sum(math.perm(len(values), size) for size in sizes) <= MAX_ARRAYS:
        listed: Any = itertools.permutations
    else:
        listed = itertools.combinations  # In the schema's order only.
    return [list(each) for size in sizes for each in listed(values, size)] or None


def _members(writer: Writer, schema: Schema, written: Schema, place: str, depth: int) -> bool:
    members = schema.get("properties", {})
    if not isinstance(members, dict):
        writer.free("properties", place, "it is no object of schemas")
        members = {}
    required = schema.get("required", [])
    if not (isinstance(required, list) and all(isinstance(name, str) for name in required)):
        writer.free("required", place, "it is no list of names")
        required = []
    patterns = _pattern_members(writer, schema, place)
    if not writer.counts(len(required) // 4, place):
        required = []
    needed = frozenset(required)
    further = schema.get("additionalProperties", schema.get("unevaluatedProperties"))
    if further is not None and not isinstance(further, (bool, dict)):
        writer.free("additionalProperties", place, "it is no JSON schema")
        further = True
    named = dict(members)
    for name in required:
        if further is False:
            is_free = "(?s:.*)" in patterns
            named.setdefault(name, is_free or is_named_by_pattern(name, patterns))
        else:
            named.setdefault(name, True if further is None else further)
    if "propertyNames" in schema:
        named, patterns, further = _with_names(
            writer, schema["propertyNames"], named, required, patterns, further, place
        )
    if len(named) - len(needed) > MAX_OPTIONAL:
        writer.free("properties", place, f"it has more than {MAX_OPTIONAL} optional members")
        written["type"] = schema.get("type", list(TYPES))
        return True
    _member_counts(writer, schema, written, place, required, named, further)
    if named and not writer.counts(1, place):
        return True
    if named:
        written["properties"] = properties = {
            name: member if member is False else writer.node(
                member, f"{place}.{name:.60}", depth
            )
            for name, member in named.items()
        }
        for name in needed:
            if properties[name] is False:
                writer.impossible = writer.impossible or f"{place}.{name}"
                return False
    if required:
        written["required"] = list(dict.fromkeys(required))
    if patterns:
        written["patternProperties"] = {
            pattern: writer.node(member, f"{place}.*", depth)
            for pattern, member in patterns.items()
        }
    only_forbids = bool(named) and all(member is False for member in named.values())
    if further is None:
        described = isinstance(schema.get("properties"), dict) and not only_forbids
        further = not (described or patterns) or "propertyNames" in schema
    if not named and not patterns:
        if further is not True:
            written["additionalProperties"] = further and writer.node(further, f"{place}.*", depth)
    elif further is False or patterns or sum(map(len, named)) > MAX_NAMES:
        written["additionalProperties"] = False
    elif writer.counts(2 + sum(map(len, named)) // 10, place):
        # llguidance would take a name that is written with escapes for another.
        written["patternProperties"] = {
            all_but(named): True if further is True else writer.node(further, f"{place}.*", depth)
        }
        written["additionalProperties"] = False
    return True


def _pattern_members(writer: Writer, schema: Schema, place: str) -> dict[str, Any]:
    patterns: dict[str, Any] = {}
    given = schema.get("patternProperties", {})
    if not isinstance(given, dict):
        writer.free("patternProperties", place, "it is no object of schemas")
        return {}
    for pattern, member in given.items():
        # Each is compared with each.
        if not writer.counts(_cost_of_pattern(pattern) + len(patterns), place):
            return {"(?s:.*)": True}
        try:
            patterns[rust_pattern(pattern)] = member
        except UnsupportedPattern as error:
            writer.free("patternProperties", place, str(error))
            patterns["(?s:.*)"] = True
    return patterns


def _with_names(
    writer: Writer, names: Any, named: Schema, required: Sequence[str], patterns: dict[str, Any],
    further: Any, place: str,
) -> tuple[Schema, dict[str, Any], Any]:
    """Members whose names a schema restricts, as members, patterns and further ones."""
    conditions = names.keys() - ANNOTATIONS - {"type"} if isinstance(names, dict) else {"?"}
    if names is True or not conditions:
        return named, patterns, further
    values = choices(names)
    needed = frozenset(required)
    pattern = None
    if values is not None and not writer.counts(len(values), place):
        return named, patterns, further
    if values is not None and conditions <= {"enum", "const"} and not patterns:
        texts = {value for value in values if isinstance(value, str)}
        fitting = {name for name in named if name in texts}
    elif conditions == {"format"} and names["format"] == "uuid" and not patterns:
        pattern = UUID
        fitting = {name for name in named if re.search(UUID, name)}
    elif patterns or not conditions <= {"minLength", "maxLength"} and conditions != {"pattern"}:
        writer.free("propertyNames", place, "only values, a pattern or a length can be enforced")
        return named, patterns, further
    else:
        least, most = names.get("minLength", 0), names.get("maxLength", "")
        source = names.get("pattern", rf"^(?s:.){{{least},{most}}}$")
        try:
            pattern = rust_pattern(source)
            fitting = {name for name in named if re.search(source, name)}
        except (UnsupportedPattern, TypeError, re.error) as error:
            writer.free("propertyNames", place, str(error))
            return named, patterns, further
    allowed = {
        name: named[name] if name in fitting else False
        for name in named if name in fitting or name in needed
    }
    if further is not False and pattern is not None:
        patterns = {pattern: True if further is None else further}
    elif further is not False:
        for name in values or ():
            if isinstance(name, str):
                allowed.setdefault(name, True if further is None else further)
    return allowed, patterns, False


def _with_room(schema: Schema) -> Schema:
    """An object that has to have more members than it names, with those, and others."""
    members, least = schema.get("properties"), _number(schema.get("minProperties"))
    others = ("additionalProperties", "unevaluatedProperties", "patternProperties", "propertyNames")
    if not (isinstance(members, dict) and isinstance(least, int)) or any(
        key in schema for key in others
    ):
        return schema
    required = schema.get("required", [])
    if not (isinstance(required, list) and all(isinstance(name, str) for name in required)):
        return schema
    possible = [name for name, member in members.items() if member is not False]
    if least <= len({*possible, *required}):
        return schema
    return {**schema, "additionalProperties": True,
            "required": list(dict.fromkeys([*required, *possible]))}


def _by_count(schema: Schema) -> list[Schema] | None:
    """An object with a number of members, as a choice of objects without; None if it needs none.

    llguidance counts members only where all that have names are required.
    """
    members, required = schema.get("properties"), schema.get("required", [])
    if not (isinstance(members, dict) and isinstance(required, list)):
        return None
    if not schema.keys() & {"minProperties", "maxProperties"}:
        return None
    required = [name for name in required if isinstance(name, str)]
    needed = frozenset(required)
    optional = [
        name for name, member in members.items() if name not in needed and member is not False
    ]
    if not optional or schema.get("additionalProperties") not in (None, False) or (
        schema.get("patternProperties") or "propertyNames" in schema
    ):
        return None
    for keyword in ("minProperties", "maxProperties"):
        count = _number(schema.get(keyword))
        if not isinstance(count, int):
            continue
        rest = {key: value for key, value in schema.items() if key != keyword}
        wanted = max(0, count - len(set(required)))
        if keyword == "minProperties" and wanted == 0:
            return [rest]
        if keyword == "maxProperties" and wanted >= len(optional):
            return [rest]
        if math.comb(len(optional), wanted) > MAX_CHOICES:
            return None
        if keyword == "minProperties":
            return [{**rest, "required": [*required, *more]}
                    for more in itertools.combinations(optional, wanted)]
        if count < len(set(required)):
            return []
        return [{**rest, "properties": {
            name: member for name, member in members.items()
            if name in required or name in kept
        }, "additionalProperties": False} for kept in itertools.combinations(optional, wanted)]
    return None


def _member_counts(
    writer: Writer, schema: Schema, written: Schema, place: str, required: Sequence[str],
    named: Schema, further: Any,
) -> None:
    counts: Schema = {}
    _counts(writer, schema, counts, place, "Properties", MAX_LENGTH)
    needed = frozenset(required)
    optional = [name for name in named if name not in needed and named[name] is not False]
    sure = len(needed)
    if counts.get("minProperties", 0) <= sure:
        counts.pop("minProperties", None)
    if optional and counts:
        for keyword in counts:
            writer.free(keyword, place, "there are too many ways to choose that many members")
        return
    if counts.get("minProperties", 0) > sure + 1:
        # The same name twice counts once.
        writer.free("minProperties", place, "a grammar cannot tell that names are different")
        counts.pop("minProperties")
    written.update(counts)
