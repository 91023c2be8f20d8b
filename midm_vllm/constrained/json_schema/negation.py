"""Schemas of values that are invalid by a schema: ``not``, ``oneOf`` and ``if`` without them.

A grammar can be narrowed, and it cannot be subtracted from. So ``negate`` finds a schema all of
whose values are invalid by another, which is then demanded beside the rest. It may lack some
values that are invalid too, so what is made of it is never wider than the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.disjointness import LookUp, follow, types_of
from midm_vllm.constrained.json_schema.keywords import EXCLUDED_TEXTS, TYPES
from midm_vllm.constrained.json_schema.values import canonical, types_of_value


@dataclass(frozen=True)
class _Context:
    #: A schema by which the values are valid, and whose listed values are made use of.
    base: Any
    look_up: LookUp
    depth: int = limits.MAX_COMPARISON_DEPTH


def negate(schema: Any, base: Any, look_up: LookUp) -> Any:
    """A schema all of whose values are invalid by ``schema``, or None where none is found.

    It is meant for values that are valid by ``base``.
    """
    return _negate(schema, _Context(base, look_up))


def _negate(schema: Any, context: _Context) -> Any:
    schema = follow(schema, context.look_up)
    if isinstance(schema, bool):
        return not schema
    if not context.depth:
        return None
    inner = replace(
        context, base=follow(context.base, context.look_up), depth=context.depth - 1
    )
    ways = [
        way for keyword, value in schema.items() if keyword in _NEGATIONS
        for way in _NEGATIONS[keyword](value, inner)
        if way is not None and way is not False
    ]
    if not ways:
        return None
    return ways[0] if len(ways) == 1 else {"anyOf": ways}


def _of_type(types: list[str], context: _Context) -> Iterator[Any]:
    met = types_of({"type": types}, context.look_up)
    yield _other_types(met)


def _other_types(met: frozenset[str] | set[str]) -> Schema | None:
    left = [name for name in TYPES if name not in met]
    # A grammar's numbers may be whole: one type cannot be told from the other.
    if ("integer" in left) != ("number" in left):
        left = [name for name in left if name not in ("integer", "number")]
    return {"type": left} if left else None


def _of_values(values: list[Any], context: _Context) -> Iterator[Any]:
    excluded = {canonical(value) for value in values}
    if isinstance(context.base, dict) and "enum" in context.base:
        listed = context.base["enum"]
        yield {"enum": [value for value in listed if canonical(value) not in excluded]}
        return
    if values and len(values) <= limits.MAX_VALUES_EXCLUDED and (
        all(isinstance(value, str) for value in values)
    ):
        yield {"type": ["string"], EXCLUDED_TEXTS: sorted(set(values))}
    if any(isinstance(value, bool) for value in values):
        yield {"enum": [value for value in (True, False) if canonical(value) not in excluded]}
    met = {name for value in values for name in types_of_value(value)}
    yield _other_types(met | {"integer", "number"} if "number" in met else met)


def _of_required(names: list[str], context: _Context) -> Iterator[Any]:
    for name in names[:limits.MAX_BRANCHES_COMPARED]:
        yield {"type": ["object"], "properties": {name: False}}


def _of_members(members: Schema, context: _Context) -> Iterator[Any]:
    known = context.base.get("properties", {}) if isinstance(context.base, dict) else {}
    for name, member in list(members.items())[:limits.MAX_BRANCHES_COMPARED]:
        negated = _negate(member, replace(context, base=known.get(name, True)))
        if negated is not None and negated is not False:
            yield {"type": ["object"], "required": [name], "properties": {name: negated}}


def _of_choice(branches: list[Any], context: _Context) -> Iterator[Any]:
    negated = [_negate(branch, context) for branch in branches[:limits.MAX_BRANCHES_COMPARED]]
    if None not in negated and len(branches) <= limits.MAX_BRANCHES_COMPARED:
        yield False if False in negated else {"allOf": negated}


def _of_all(branches: list[Any], context: _Context) -> Iterator[Any]:
    for branch in branches[:limits.MAX_BRANCHES_COMPARED]:
        yield _negate(branch, context)


def _as(type_name: str, keyword: str, added: int = 0) -> Callable[[Any, _Context], Iterator[Any]]:
    """The negation of a bound: another, by so much more."""
    def negation(bound: Any, context: _Context) -> Iterator[Any]:
        if type_name == "number" or bound + added >= 0:
            yield {"type": [type_name], keyword: bound + added}

    return negation


#: How each keyword is negated; of others, no invalid values are found.
_NEGATIONS: dict[str, Callable[[Any, _Context], Iterator[Any]]] = {
    "type": _of_type,
    "enum": _of_values,
    "required": _of_required,
    "properties": _of_members,
    "anyOf": _of_choice,
    "oneOf": _of_choice,
    "allOf": _of_all,
    "not": lambda schema, context: iter((schema,)),
    "$ref": lambda key, context: iter((_negate({"$ref": key}, context),)),
    "minLength": _as("string", "maxLength", -1),
    "maxLength": _as("string", "minLength", 1),
    "minItems": _as("array", "maxItems", -1),
    "maxItems": _as("array", "minItems", 1),
    "minProperties": _as("object", "maxProperties", -1),
    "maxProperties": _as("object", "minProperties", 1),
    "minimum": _as("number", "exclusiveMaximum"),
    "maximum": _as("number", "exclusiveMinimum"),
    "exclusiveMinimum": _as("number", "maximum"),
    "exclusiveMaximum": _as("number", "minimum"),
}
