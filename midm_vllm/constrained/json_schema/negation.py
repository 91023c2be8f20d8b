"""What contradicts a schema: the means to say ``not``, ``oneOf`` and ``if`` without them.

A grammar can be narrowed, and it cannot be subtracted from. So ``denial`` finds a schema whose
values are all invalid by another, which is then demanded beside the rest; it may leave out
some values that are invalid too, so what is made of it is never wider than what was asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from midm_vllm.constrained.regex.rust_dialect import all_but
from midm_vllm.constrained.json_schema.keywords import ANNOTATIONS, TYPES

Schema = dict[str, Any]
#: Finds what a reference means; None where it means nothing.
Resolve = Callable[[str], Any]

_DEPTH = 6
#: Keywords that say what types a value may have.
_OF_TYPES = frozenset(("type", "const", "enum", "$ref", "allOf", "anyOf", "oneOf"))
#: More names than this are not told apart one by one.
_MANY = 64


def types_of(schema: Any, resolve: Resolve, depth: int = _DEPTH) -> set[str]:
    """The types that a schema's values may have, at most; "number" comes with "integer"."""
    every = set(TYPES)
    if schema is False:
        return set()
    if not isinstance(schema, dict) or not depth:
        return every
    types = every
    if not schema.keys() & _OF_TYPES:
        return types
    if "type" in schema:
        named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        types = {name for name in named if isinstance(name, str)}
        types |= {"integer"} if "number" in types else set()
    values = choices(schema)
    if values is not None:
        types = types & {kind for value in values for kind in _types_of_value(value)}
    if isinstance(schema.get("$ref"), str):
        types = types & types_of(resolve(schema["$ref"]), resolve, depth - 1)
    for branch in _schemas(schema, "allOf"):
        types = types & types_of(branch, resolve, depth - 1)
    for keyword in ("anyOf", "oneOf"):
        branches = _schemas(schema, keyword)
        if branches and len(branches) <= _MANY:
            types = types & {
                kind for branch in branches for kind in types_of(branch, resolve, depth - 1)
            }
    return types


def choices(schema: Any) -> list[Any] | None:
    """The values among which a schema's are, where it lists them."""
    if isinstance(schema, dict) and "const" in schema:
        return [schema["const"]]
    if isinstance(schema, dict) and isinstance(schema.get("enum"), list):
        values: list[Any] = schema["enum"]
        return values
    return None


def same(value: Any) -> str:
    """A text that equal JSON values share: ``1`` and ``1.0`` are equal, ``1`` and ``true`` not."""
    if isinstance(value, str):
        return f'"{value}"'

    def plain(part: Any) -> Any:
        if isinstance(part, float) and part.is_integer():
            return int(part)
        if isinstance(part, dict):
            return {key: plain(each) for key, each in part.items()}
        return [plain(each) for each in part] if isinstance(part, list) else part

    return json.dumps(plain(value), sort_keys=True)


def are_same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; Python alone takes ``1`` and ``true`` for equal."""
    return bool(one == other) and same(one) == same(other)


def all_disjoint(branches: Sequence[Any], resolve: Resolve) -> bool:
    """Whether certainly no value matches two of the branches; in linear time."""
    resolved = [_target(branch, resolve) for branch in branches]
    if _sets_are_disjoint([types_of(branch, resolve) for branch in resolved]):
        return True
    if _told_apart(resolved):
        return True
    first = resolved[0] if resolved else None
    names = _strings(first, "required") if isinstance(first, dict) else []
    for name in names[:_MANY]:
        members = [_required_member(branch, name, resolve) for branch in resolved]
        if all(member is not None for member in members) and (
            _told_apart(members)
            or _sets_are_disjoint([types_of(member, resolve) for member in members])
        ):
            return True
    return False


def disjoint(one: Any, other: Any, resolve: Resolve) -> bool:
    """Whether certainly no value matches both schemas."""
    if all_disjoint([one, other], resolve):
        return True
    one, other = _target(one, resolve), _target(other, resolve)
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return False
    if types_of(one, resolve) & types_of(other, resolve) != {"object"}:
        return False
    return _closed_to(one, other) or _closed_to(other, one)


def _closed_to(closed: Schema, other: Schema) -> bool:
    """Whether ``other`` requires a member that ``closed`` forbids."""
    members = closed.get("properties", {})
    if not isinstance(members, dict):
        return False
    return any(
        members.get(name) is False or (
            closed.get("additionalProperties") is False and name not in members
            and not closed.get("patternProperties")
        )
        for name in _strings(other, "required")
    )


def denial(schema: Any, base: Any, resolve: Resolve, depth: int = _DEPTH) -> Any:
    """A schema all of whose values are invalid by ``schema``, or None where none is found.

    It is meant for values that are valid by ``base``, whose listed values it makes use of.
    """
    schema, base = _target(schema, resolve), _target(base, resolve)
    if isinstance(schema, bool):
        return not schema
    if not isinstance(schema, dict) or not depth:
        return None
    ways = [
        way for keyword in schema if keyword not in ANNOTATIONS
        for way in _ways_to_deny(keyword, schema, base, resolve, depth - 1)
        if way is not None and way is not False
    ]
    if not schema.keys() - ANNOTATIONS:
        return False
    if not ways:
        return None
    return ways[0] if len(ways) == 1 else {"anyOf": ways}


def _ways_to_deny(
    keyword: str, schema: Schema, base: Any, resolve: Resolve, depth: int
) -> Iterator[Any]:
    value = schema[keyword]
    if keyword == "type":
        met = types_of({"type": value}, resolve)
        left = [kind for kind in TYPES if kind not in met]
        if "integer" in left and "number" not in left:
            left.remove("integer")
        elif "number" in left and "integer" not in left:
            left.remove("number")  # A grammar's numbers may be whole.
        yield {"type": left} if left else None
    elif keyword in ("const", "enum"):
        yield from _other_values(choices(schema) or [], base)
    elif keyword == "required":
        for name in _strings(schema, "required"):
            yield {"type": "object", "properties": {name: False}}
    elif keyword == "properties" and isinstance(value, dict):
        known = base.get("properties", {}) if isinstance(base, dict) else {}
        for name, member in list(value.items())[:_MANY]:
            denied = denial(member, known.get(name, True), resolve, depth)
            if denied is not None and denied is not False:
                yield {"type": "object", "required": [name], "properties": {name: denied}}
    elif keyword in ("anyOf", "oneOf") and isinstance(value, list):
        every = [denial(branch, base, resolve, depth) for branch in value[:_MANY]]
        if None not in every and len(value) <= _MANY:
            yield False if False in every else {"allOf": every}
    elif keyword == "allOf" and isinstance(value, list):
        for branch in value[:_MANY]:
            yield denial(branch, base, resolve, depth)
    elif keyword == "not":
        yield value
    elif keyword in ("minLength", "minItems") and isinstance(value, int) and value > 0:
        kind = "string" if keyword == "minLength" else "array"
        yield {"type": kind, keyword.replace("min", "max"): value - 1}
    elif keyword in ("maxLength", "maxItems") and isinstance(value, int):
        kind = "string" if keyword == "maxLength" else "array"
        yield {"type": kind, keyword.replace("max", "min"): value + 1}
    elif keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        opposite = {
            "minimum": "exclusiveMaximum", "maximum": "exclusiveMinimum",
            "exclusiveMinimum": "maximum", "exclusiveMaximum": "minimum",
        }[keyword]
        yield {"type": "number", opposite: value}


def _other_values(values: Sequence[Any], base: Any) -> Iterator[Any]:
    excluded = {same(value) for value in values}
    listed = choices(base)
    if listed is not None:
        yield {"enum": [value for value in listed if same(value) not in excluded]}
        return
    if len(values) <= _MANY * 4 and all(isinstance(value, str) for value in values):
        yield {"type": "string", "pattern": all_but(values)}
    if any(isinstance(value, bool) for value in values):
        yield {"enum": [value for value in (True, False) if same(value) not in excluded]}
    met = {kind for value in values for kind in _types_of_value(value)}
    met |= {"integer", "number"} if met & {"integer", "number"} else set()
    left = [kind for kind in TYPES if kind not in met]
    yield {"type": left} if left else None


def _types_of_value(value: Any) -> tuple[str, ...]:
    if value is None:
        return ("null",)
    if isinstance(value, bool):
        return ("boolean",)
    if isinstance(value, (int, float)):
        return ("integer", "number") if value == value // 1 else ("number",)
    if isinstance(value, str):
        return ("string",)
    return ("array",) if isinstance(value, list) else ("object",)


def _sets_are_disjoint(sets: Sequence[set[str]]) -> bool:
    return sum(map(len, sets)) == len(set().union(*sets)) if sets else True


def _told_apart(schemas: Sequence[Any]) -> bool:
    """Whether each lists its values, and no two the same."""
    met: set[str] = set()
    for schema in schemas:
        values = choices(schema)
        if values is None:
            return False
        keys = {same(value) for value in values}
        if keys & met:
            return False
        met |= keys
    return True


def _required_member(schema: Any, name: str, resolve: Resolve) -> Any:
    """The schema of a member that every value has; None where it may be absent."""
    if not isinstance(schema, dict) or name not in _strings(schema, "required"):
        return None
    if types_of(schema, resolve) != {"object"}:
        return None
    members = schema.get("properties")
    return _target(members.get(name), resolve) if isinstance(members, dict) else None


def _target(schema: Any, resolve: Resolve) -> Any:
    for _ in range(_DEPTH):
        if not (isinstance(schema, dict) and isinstance(schema.get("$ref"), str)):
            break
        if schema.keys() - ANNOTATIONS - {"$ref"}:
            break
        schema = resolve(schema["$ref"])
    return schema


def _schemas(schema: Schema, keyword: str) -> list[Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


def _strings(schema: Any, keyword: str) -> list[str]:
    value = schema.get(keyword) if isinstance(schema, dict) else None
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
