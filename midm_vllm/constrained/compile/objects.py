"""The members of an object: named, by pattern, further ones; their names and their number."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from midm_vllm.constrained.json_schema.negation import choices
from midm_vllm.constrained.json_schema.formats import UUID
from midm_vllm.constrained.json_schema.intersection import is_named_by_pattern
from midm_vllm.constrained.regex.rust_dialect import UnsupportedPattern, all_but, rust_pattern
from midm_vllm.constrained.compile.scalars import (
    MAX_LENGTH,
    Schema,
    Writer,
    cost_of_pattern,
    number,
    write_counts,
)
from midm_vllm.constrained.json_schema.keywords import ANNOTATIONS, TYPES

# What llguidance's parser and lexer can have open at once, with room to spare.
MAX_OPTIONAL = 400
#: Names longer than this together are not told apart from further members' names.
MAX_NAMES = 2_000
#: Ways to choose a number of members.
MAX_CHOICES = 64


def write_members(
    writer: Writer, schema: Schema, written: Schema, place: str, depth: int
) -> bool:
    """Write what a schema says of an object's members; False where no object is valid by it."""
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
            is_unconstrained = "(?s:.*)" in patterns
            named.setdefault(name, is_unconstrained or is_named_by_pattern(name, patterns))
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
    elif writer.counts(6 + sum(map(len, named)) // 10, place):
        # llguidance would take a name that is written with escapes for another.
        others = all_but(named)
        writer.other_names.add(others)
        written["patternProperties"] = {
            others: True if further is True else writer.node(further, f"{place}.*", depth)
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
        if not writer.counts(cost_of_pattern(pattern) + len(patterns), place):
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


def with_room(schema: Schema) -> Schema:
    """An object that has to have more members than it names, with those, and others."""
    members, least = schema.get("properties"), number(schema.get("minProperties"))
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


def by_count(schema: Schema) -> list[Schema] | None:
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
        count = number(schema.get(keyword))
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
    write_counts(writer, schema, counts, place, "Properties", MAX_LENGTH)
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
