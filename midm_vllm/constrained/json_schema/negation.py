"""Schemas of values that are invalid by a schema: ``not``, ``oneOf`` and ``if`` without them.

A grammar can be narrowed, and it cannot be subtracted from. So ``negate`` finds a schema all of
whose values are invalid by another, which is then demanded beside the rest. It may lack some
values that are invalid too, so what is made of it is never wider than the schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.disjointness import LookUp, follow, types_of
from midm_vllm.constrained.json_schema.keywords import EXCLUDED_TEXTS, TYPES
from midm_vllm.constrained.json_schema.values import canonical, types_of_value

#: The negation of a bound: the type of value, another keyword, and by how much more.
_BOUNDS = {
    "minLength": ("string", "maxLength", -1),
    "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1),
    "maxItems": ("array", "minItems", 1),
    "minProperties": ("object", "maxProperties", -1),
    "maxProperties": ("object", "minProperties", 1),
    "minimum": ("number", "exclusiveMaximum", 0),
    "maximum": ("number", "exclusiveMinimum", 0),
    "exclusiveMinimum": ("number", "maximum", 0),
    "exclusiveMaximum": ("number", "minimum", 0),
}


def negate(
    schema: Any, base: Any, look_up: LookUp, depth: int = limits.MAX_COMPARISON_DEPTH
) -> Any:
    """A schema all of whose values are invalid by ``schema``, or None where none is found.

    Args:
        schema: A normalized schema.
        base: A schema by which the values are valid, and whose listed values are made use of.
        look_up: Finds the schema that a reference means.
        depth: How many schemas inside of schemas are looked at.
    """
    schema = follow(schema, look_up)
    if isinstance(schema, bool):
        return not schema
    base = follow(base, look_up)
    ways = [
        way for keyword, value in schema.items() if depth
        for way in _ways(keyword, value, base, look_up, depth - 1) if way
    ]
    return {"anyOf": ways} if len(ways) > 1 else ways[0] if ways else None


def _ways(
    keyword: str, value: Any, base: Any, look_up: LookUp, depth: int
) -> Iterator[Any]:
    """Schemas of values that a keyword does not allow; nothing useful may be among them."""
    most = limits.MAX_BRANCHES_COMPARED
    if keyword == "type":
        yield _other_types(types_of({"type": value}, look_up))
    elif keyword == "enum":
        yield from _other_values(value, base)
    elif keyword == "required":
        for name in value[:most]:
            yield {"type": ["object"], "properties": {name: False}}
    elif keyword == "properties":
        known = base.get("properties", {}) if isinstance(base, dict) else {}
        for name, member in list(value.items())[:most]:
            negated = negate(member, known.get(name, True), look_up, depth)
            if negated:
                yield {"type": ["object"], "required": [name], "properties": {name: negated}}
    elif keyword in ("anyOf", "oneOf") and len(value) <= most:
        negated = [negate(branch, base, look_up, depth) for branch in value]
        if all(negated):
            yield {"allOf": negated}
    elif keyword == "allOf":
        for branch in value[:most]:
            yield negate(branch, base, look_up, depth)
    elif keyword == "$ref":
        yield negate({"$ref": value}, base, look_up, depth)
    elif keyword == "not":
        yield value
    elif keyword in _BOUNDS:
        type_name, other, added = _BOUNDS[keyword]
        if type_name == "number" or value + added >= 0:
            yield {"type": [type_name], other: value + added}


def _other_types(met: frozenset[str] | set[str]) -> Schema | None:
    left = [name for name in TYPES if name not in met]
    # A grammar's numbers may be whole: one type cannot be told from the other.
    if ("integer" in left) != ("number" in left):
        left = [name for name in left if name not in ("integer", "number")]
    return {"type": left} if left else None


def _other_values(values: list[Any], base: Any) -> Iterator[Any]:
    excluded = set(map(canonical, values))
    if isinstance(base, dict) and "enum" in base:
        yield {"enum": [value for value in base["enum"] if canonical(value) not in excluded]}
        return
    if values and len(values) <= limits.MAX_VALUES_EXCLUDED and (
        all(isinstance(value, str) for value in values)
    ):
        yield {"type": ["string"], EXCLUDED_TEXTS: sorted(set(values))}
    if any(isinstance(value, bool) for value in values):
        yield {"enum": [value for value in (True, False) if canonical(value) not in excluded]}
    met = {name for value in values for name in types_of_value(value)}
    yield _other_types(met | {"integer", "number"} if "number" in met else met)
