"""Two schemas that both have to hold, as one: ``allOf`` without ``allOf``.

What a schema says of a value's type, numbers, text, items and members is merged keyword by
keyword; what cannot be (two patterns) stays side by side in an ``allOf`` of conditions, which
the grammar can intersect. Combining keywords (``anyOf``, ``$ref``, …) are not looked into here:
they have been multiplied out before.
"""

from __future__ import annotations

import re
from typing import Any

from midm_vllm.constrained.json_schema.negation import are_same, choices, same

Schema = dict[str, Any]

_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
OBJECT_KEYWORDS = (
    "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
)
ARRAY_KEYWORDS = ("items", "prefixItems")


def merged(one: Any, other: Any) -> Any:
    """The schema that allows what both allow."""
    if isinstance(one, bool) or isinstance(other, bool):
        if one is False or other is False:
            return False
        return other if one is True else one
    one, other = _with_enum(one), _with_enum(other)
    result = {
        key: value for key, value in one.items()
        if key not in OBJECT_KEYWORDS and key not in ARRAY_KEYWORDS
    }
    for key, value in other.items():
        if key in OBJECT_KEYWORDS or key in ARRAY_KEYWORDS:
            continue
        if key not in result or are_same(result[key], value):
            result[key] = value
        elif key == "type":
            types = _common_types(result[key], value)
            if not types:
                return False
            result[key] = types
        elif key in _UPPER and _are_numbers(value, result[key]):
            result[key] = min(value, result[key])
        elif key in _LOWER and _are_numbers(value, result[key]):
            result[key] = max(value, result[key])
        elif key == "enum":
            kept = {same(each) for each in value} if isinstance(value, list) else set()
            result[key] = [each for each in result[key] if same(each) in kept]
        elif key == "allOf":
            result[key] = [*result[key], *value]
        elif key == "uniqueItems":
            result[key] = True
        else:
            result["allOf"] = [*result.get("allOf", ()), {key: value}]
    result |= _objects(one, other)
    result |= _arrays(one, other)
    return False if is_impossible(result) else result


def is_impossible(schema: Schema) -> bool:
    """Whether a flat schema plainly allows nothing."""
    if schema.get("enum") == []:
        return True
    members = _dict(schema, "properties")
    return schema.get("type") in ("object", ["object"]) and any(
        isinstance(name, str) and members.get(name) is False for name in _list(schema, "required")
    )


def _with_enum(schema: Schema) -> Schema:
    """The schema with ``enum`` in place of ``const``, where it has both kinds to merge."""
    if "const" not in schema or "enum" in schema:
        return schema
    rest = {key: value for key, value in schema.items() if key != "const"}
    return {**rest, "enum": [schema["const"]]}


def both(one: Any, other: Any) -> Any:
    """A schema for a member or an item, of which two schemas are said; merged when it is read."""
    if one is True or are_same(one, other):
        return other
    if other is True:
        return one
    if one is False or other is False:
        return False
    mine, theirs = choices(one), choices(other)
    if mine is not None and theirs is not None and not {same(each) for each in mine}.intersection(
        map(same, theirs)
    ):
        return False
    return {"allOf": [one, other]}


def _objects(one: Schema, other: Schema) -> Schema:
    if not any(key in OBJECT_KEYWORDS for key in other):
        return {key: one[key] for key in OBJECT_KEYWORDS if key in one}
    if not any(key in OBJECT_KEYWORDS for key in one):
        return {key: other[key] for key in OBJECT_KEYWORDS if key in other}
    result: Schema = {}
    mine, theirs = _dict(one, "properties"), _dict(other, "properties")
    members = {
        name: both(_member(one, name), _member(other, name))
        for name in [*mine, *(name for name in theirs if name not in mine)]
    }
    if members:
        result["properties"] = members
    required = [*_list(one, "required"), *_list(other, "required")]
    if all(isinstance(name, str) for name in required):
        required = list(dict.fromkeys(required))
    if required:
        result["required"] = required
    patterns = dict(_dict(one, "patternProperties"))
    for pattern, schema in _dict(other, "patternProperties").items():
        patterns[pattern] = both(patterns.get(pattern, True), schema)
    if patterns:
        result["patternProperties"] = patterns
    for key in ("additionalProperties", "propertyNames"):
        if key in one or key in other:
            result[key] = both(one.get(key, True), other.get(key, True))
    return result


def _member(schema: Schema, name: str) -> Any:
    """What a schema says of a member; with patterns beside, it may say more than it does."""
    members = _dict(schema, "properties")
    if name in members:
        return members[name]
    further = schema.get("additionalProperties", True)
    if further is False:
        return is_named_by_pattern(name, _dict(schema, "patternProperties"))
    return further


def is_named_by_pattern(name: str, patterns: Schema) -> bool:
    """Whether a name certainly fits one of ``patternProperties``; what Python cannot read, not."""
    for pattern in patterns:
        try:
            if re.search(pattern, name, re.ASCII):
                return True
        except re.error:
            continue
    return False


def _arrays(one: Schema, other: Schema) -> Schema:
    result: Schema = {}
    mine, theirs = _list(one, "prefixItems"), _list(other, "prefixItems")
    if mine or theirs:
        result["prefixItems"] = [
            both(
                mine[index] if index < len(mine) else one.get("items", True),
                theirs[index] if index < len(theirs) else other.get("items", True),
            )
            for index in range(max(len(mine), len(theirs)))
        ]
    if "items" in one or "items" in other:
        result["items"] = both(one.get("items", True), other.get("items", True))
    return result


def _common_types(one: Any, other: Any) -> Any:
    def named(types: Any) -> list[Any]:
        return list(types) if isinstance(types, list) else [types]

    def covered(name: Any, types: list[Any]) -> bool:
        return name in types or (name == "integer" and "number" in types)

    mine, theirs = named(one), named(other)
    common = [name for name in mine if covered(name, theirs)]
    return common + [name for name in theirs if covered(name, mine) and name not in common]


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in values)


def _dict(schema: Schema, key: str) -> dict[str, Any]:
    value = schema.get(key)
    return value if isinstance(value, dict) else {}


def _list(schema: Schema, key: str) -> list[Any]:
    value = schema.get(key)
    return value if isinstance(value, list) else []
