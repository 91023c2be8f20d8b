"""Two flat schemas that both have to hold, as one: ``allOf`` without ``allOf``.

Keywords are intersected one by one. Combining keywords are multiplied out before.

Where a document has ``unevaluated…``, a flat schema carries what it evaluates, as ``EVALUATED``.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm
from typing import Any

from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.keywords import EVALUATED, EXCLUDED_TEXTS, TYPES
from midm_vllm.constrained.json_schema.values import (
    are_equal,
    as_number,
    canonical,
    types_of_value,
)
from midm_vllm.constrained.regex.parser import UnsupportedPattern
from midm_vllm.constrained.regex.rust_dialect import matches

_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_OF_MEMBERS = (
    "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
)
#: A step that no grammar counts.
_UNCOUNTED = Fraction(10**10)
#: Keywords whose values all have to hold.
_LISTS = ("pattern", "format", EXCLUDED_TEXTS)


def intersect(one: Any, other: Any) -> Any:
    """The flat schema that allows what both allow."""
    if one is False or other is False:
        return False
    if one is True or other is True:
        return other if one is True else one
    result = {key: one.get(key, other.get(key)) for key in (*one, *other)}
    for key in one.keys() & other.keys():
        mine, theirs = one[key], other[key]
        if key == EVALUATED:
            result[key] = _union_of_evaluated(mine, theirs)
        elif key == "type":
            result[key] = _common_types(mine, theirs)
        elif key == "enum":
            kept = set(map(canonical, theirs))
            result[key] = [each for each in mine if canonical(each) in kept]
        elif key in _UPPER:
            result[key] = min(mine, theirs)
        elif key in _LOWER:
            result[key] = max(mine, theirs)
        elif key == "multipleOf":
            result[key] = _common_multiple(mine, theirs)
        elif key in _LISTS:
            result[key] = list(dict.fromkeys((*mine, *theirs)))
    result |= _members(one, other) | _items(one, other)
    restrict_values(result)
    return False if is_unsatisfiable(result) else result


def restrict_values(schema: Schema) -> None:
    """Apply what a schema says of types and texts to the values that it lists."""
    if "enum" in schema and not schema.keys().isdisjoint(("type", EXCLUDED_TEXTS)):
        types = frozenset(schema.pop("type", TYPES))
        excluded = frozenset(schema.pop(EXCLUDED_TEXTS, ()))
        schema["enum"] = [
            each for each in schema["enum"] if not types.isdisjoint(types_of_value(each))
            and not (isinstance(each, str) and each in excluded)
        ]


def is_unsatisfiable(schema: Schema) -> bool:
    """Whether a flat schema plainly allows nothing."""
    if schema.get("enum") == [] or schema.get("type") == []:
        return True
    members = schema.get("properties", {})
    return schema.get("type") == ["object"] and any(
        members.get(name) is False for name in schema.get("required", ())
    )


def intersect_later(one: Any, other: Any) -> Any:
    """The same for schemas of a member or an item, which are intersected when they are written."""
    if one is True or are_equal(one, other):
        return other
    if other is True:
        return one
    if one is False or other is False:
        return False
    return {"allOf": [one, other]}


def member_schema(schema: Schema, name: str) -> Any:
    """What a flat schema says of the member of a name.

    Raises:
        UnsupportedPattern: Of a pattern in it, it is unknown whether it matches the name.
    """
    parts = [
        part for pattern, part in schema.get("patternProperties", {}).items()
        if matches(pattern, name)
    ]
    members = schema.get("properties", {})
    if name in members:
        parts.append(members[name])
    if not parts:
        return schema.get("additionalProperties", True)
    result = True
    for part in parts:
        result = intersect_later(result, part)
    return result


def _members(one: Schema, other: Schema) -> Schema:
    if any(schema.keys().isdisjoint(_OF_MEMBERS) for schema in (one, other)):
        return {}
    result: Schema = {}
    properties: Schema = {}
    for name in dict.fromkeys((*one.get("properties", ()), *other.get("properties", ()))):
        try:
            properties[name] = intersect_later(
                member_schema(one, name), member_schema(other, name)
            )
        except UnsupportedPattern:  # It is reported where the patterns are written.
            properties[name] = intersect_later(
                one.get("properties", {}).get(name, True),
                other.get("properties", {}).get(name, True),
            )
    if properties:
        result["properties"] = properties
    required = [*one.get("required", ()), *other.get("required", ())]
    if required:
        result["required"] = list(dict.fromkeys(required))
    patterns: Schema = {}
    for mine, theirs in ((one, other), (other, one)):
        for pattern, schema in mine.get("patternProperties", {}).items():
            beside = theirs.get("patternProperties", {}).get(
                pattern, theirs.get("additionalProperties", True)
            )
            patterns.setdefault(pattern, intersect_later(schema, beside))
    if patterns:
        result["patternProperties"] = patterns
    for key in ("additionalProperties", "propertyNames"):
        if key in one or key in other:
            result[key] = intersect_later(one.get(key, True), other.get(key, True))
    return result


def _items(one: Schema, other: Schema) -> Schema:
    length = max(len(schema.get("prefixItems", ())) for schema in (one, other))
    mine, theirs = (
        [*schema.get("prefixItems", ()), *[schema.get("items", True)] * length][:length]
        for schema in (one, other)
    )
    result: Schema = {}
    if length:
        result["prefixItems"] = list(map(intersect_later, mine, theirs))
    if "items" in one or "items" in other:
        result["items"] = intersect_later(one.get("items", True), other.get("items", True))
    return result


def _common_types(mine: list[str], theirs: list[str]) -> list[str]:
    def covers(types: list[str], name: str) -> bool:
        return name in types or (name == "integer" and "number" in types)

    common = [name for name in mine if covers(theirs, name)]
    return common + [name for name in theirs if covers(mine, name) and name not in common]


def _common_multiple(mine: float, theirs: float) -> float:
    one, other = Fraction(repr(mine)), Fraction(repr(theirs))
    common = Fraction(lcm(one.numerator, other.numerator), gcd(one.denominator, other.denominator))
    step = as_number(float(min(common, _UNCOUNTED)))
    return step if step and Fraction(repr(step)) == common else int(_UNCOUNTED)


# What a schema evaluates, for the unevaluated rest to be told from it.

_KNOWN = {"additionalProperties": ("properties", "patternProperties"), "items": ("prefixItems",)}


def evaluated_by(schema: Schema) -> Schema:
    """The members and items that a flat schema evaluates, as one that allows them anything."""
    evaluated: Schema = {keyword: True for keyword in _KNOWN if keyword in schema}
    for keyword in ("properties", "patternProperties"):
        if keyword in schema:
            evaluated[keyword] = dict.fromkeys(schema[keyword], True)
    if "prefixItems" in schema:
        evaluated["prefixItems"] = [True] * len(schema["prefixItems"])
    return evaluated


def _union_of_evaluated(one: Schema, other: Schema) -> Schema:
    result = {**one, **other}
    for keyword in ("properties", "patternProperties"):
        if keyword in result:
            result[keyword] = {**one.get(keyword, {}), **other.get(keyword, {})}
    if "prefixItems" in one and "prefixItems" in other:
        result["prefixItems"] = max(one["prefixItems"], other["prefixItems"], key=len)
    return result


def restrict_unevaluated(flat: Any, members: Any, items: Any) -> Any:
    """A flat schema with ``unevaluatedProperties`` and ``unevaluatedItems``, where not None."""
    if flat is False:
        return False
    evaluated = flat.get(EVALUATED, {}) if isinstance(flat, dict) else {}
    rest: Schema = {EVALUATED: {}}
    for keyword, schema in (("additionalProperties", members), ("items", items)):
        if schema is None:
            continue
        rest[EVALUATED][keyword] = True
        if keyword not in evaluated:
            rest |= {known: evaluated[known] for known in _KNOWN[keyword] if known in evaluated}
            rest[keyword] = schema
    return intersect(flat, rest)
