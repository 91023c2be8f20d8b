"""Whether a value can be valid by two schemas. All schemas are normalized."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_schema.keywords import NEGATED, TYPES
from midm_vllm.constrained.json_schema.values import canonical, types_of_value

#: Returns the schema that a normalized ``$ref`` means, or the reference where that takes
#: too long.
LookUp = Callable[[str], Any]

#: Keywords that restrict a value's type.
_OF_TYPES = frozenset(("type", "enum", "$ref", "allOf", "anyOf", "oneOf", NEGATED))
_ALL_TYPES = frozenset(TYPES)


def types_of(
    schema: Any, look_up: LookUp, depth: int = limits.MAX_COMPARISON_DEPTH
) -> frozenset[str]:
    """The types that a schema's values may have, at most; "number" comes with "integer"."""
    if schema is False:
        return frozenset()
    if schema is True or not depth or schema.keys().isdisjoint(_OF_TYPES):
        return _ALL_TYPES
    types = _ALL_TYPES
    if "type" in schema:
        types = frozenset(schema["type"])
        types |= {"integer"} if "number" in types else set()
    if "enum" in schema:
        types &= {name for value in schema["enum"] for name in types_of_value(value)}
    if "$ref" in schema:
        types &= types_of(look_up(schema["$ref"]), look_up, depth - 1)
    for branch in (*schema.get("allOf", ()), *schema.get(NEGATED, ())):
        types &= types_of(branch, look_up, depth - 1)
    for keyword in ("anyOf", "oneOf"):
        branches = schema.get(keyword, ())
        if branches and len(branches) <= limits.MAX_BRANCHES_COMPARED:
            types &= frozenset().union(
                *(types_of(branch, look_up, depth - 1) for branch in branches)
            )
    return types


def follow(schema: Any, look_up: LookUp) -> Any:
    """What a schema means that is a reference alone."""
    for _ in range(limits.MAX_COMPARISON_DEPTH):
        if not (isinstance(schema, dict) and schema.keys() == {"$ref"}):
            break
        schema = look_up(schema["$ref"])
    return schema


def are_disjoint(branches: Sequence[Any], look_up: LookUp) -> bool:
    """Whether certainly no value is valid by two of the branches, in linear time.

    They are told apart by their types, by values that they list, or by those of a member that all
    of them require.
    """
    resolved = [follow(branch, look_up) for branch in branches]
    if _are_told_apart(resolved, look_up):
        return True
    first = resolved[0] if resolved else None
    names = first.get("required", []) if isinstance(first, dict) else []
    for name in names[:limits.MAX_BRANCHES_COMPARED]:
        members = [_required_member(branch, name, look_up) for branch in resolved]
        if None not in members and _are_told_apart(members, look_up):
            return True
    return False


def _are_told_apart(schemas: Sequence[Any], look_up: LookUp) -> bool:
    """Whether no two share a value that they list, or no two a type."""
    values = [
        [canonical(value) for value in schema["enum"]]
        if isinstance(schema, dict) and "enum" in schema else None
        for schema in schemas
    ]
    if None not in values and _share_nothing([set(each) for each in values if each is not None]):
        return True
    return _share_nothing([types_of(schema, look_up) for schema in schemas])


def _share_nothing(sets: Sequence[set[str] | frozenset[str]]) -> bool:
    return sum(map(len, sets)) == len(set().union(*sets))


def _required_member(schema: Any, name: str, look_up: LookUp) -> Any:
    """The schema of a member that every value has; None where it may be absent."""
    if not isinstance(schema, dict) or name not in schema.get("required", ()):
        return None
    if types_of(schema, look_up) != {"object"} or name not in schema.get("properties", {}):
        return None
    return follow(schema["properties"][name], look_up)


def listed_values(branches: Sequence[Any]) -> list[Any] | None:
    """The values of branches that only list values; None where one does not."""
    if all(isinstance(branch, dict) and branch.keys() == {"enum"} for branch in branches):
        return [value for branch in branches for value in branch["enum"]]
    return None
