"""Schemas without combining keywords in the terms of llguidance, type by type."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.arrays import array_ways
from midm_vllm.constrained.compile.context import (
    Context,
    control_token_in,
    control_token_reason,
)
from midm_vllm.constrained.compile.numbers import number_ways
from midm_vllm.constrained.compile.objects import object_ways
from midm_vllm.constrained.compile.strings import string_ways
from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.intersection import is_unsatisfiable
from midm_vllm.constrained.json_schema.keywords import (
    OF_ARRAYS,
    OF_NUMBERS,
    OF_OBJECTS,
    OF_STRINGS,
    TYPES,
    UNDERSTOOD_BESIDE,
)
from midm_vllm.constrained.json_schema.values import canonical, types_of_value


def compile_flat(context: Context, schema: Any, place: str, depth: int) -> Any:
    """Compile a schema without combining keywords; False where nothing is valid by it."""
    if isinstance(schema, bool):
        return schema
    if schema.keys() == {"type"}:  # As most are.
        return _typed({}, schema["type"])
    if is_unsatisfiable(schema):
        return False
    schema = _without_conflicts(context, schema, place)
    types: list[str] = schema.get("type", list(TYPES))
    rest: Schema = {}
    ways: list[Schema] = []
    for names, written in _by_type(context, schema, types, place, depth):
        if len(written) == 1 and "enum" not in written[0]:
            rest |= written[0]
            continue
        own = [name for name in types if name in names]
        types = [name for name in types if name not in names]
        ways += [each if "enum" in each else _typed(each, own) for each in written]
    conditions = [
        compile_flat(context, each, place, depth) for each in schema.get("allOf", ())
    ]
    if "enum" in schema:
        wanted = frozenset(schema.get("type", TYPES))
        typed = [each for each in schema["enum"] if not wanted.isdisjoint(types_of_value(each))]
        values = _writable_values(context, typed, place)
        if values is not None and not values:
            return False
        if values is not None and not ways:
            rest["enum"] = values
        elif values is not None:
            conditions.append({"enum": values})
    if types:
        is_restricted = "type" in schema or len(types) < len(TYPES)
        ways.append(_typed(rest, types if is_restricted else None))
    if not ways or False in conditions:
        return False
    chosen: Schema = ways[0] if len(ways) == 1 else {"anyOf": ways}
    conditions = [each for each in conditions if each is not True and each]
    if not conditions:
        return chosen
    if "anyOf" in chosen:
        return {"allOf": [chosen, *conditions]}
    return {**chosen, "allOf": [*chosen.get("allOf", ()), *conditions]}


def _typed(schema: Schema, types: Sequence[str] | None) -> Schema:
    """A schema with its types, as llguidance reads them."""
    if types is None:
        return schema
    return {"type": types[0] if len(types) == 1 else list(types), **schema}


def _without_conflicts(context: Context, schema: Schema, place: str) -> Schema:
    """The schema without the keywords that are not understood beside its others."""
    for keyword in UNDERSTOOD_BESIDE.keys() & schema.keys():
        group = OF_ARRAYS if keyword in OF_ARRAYS else OF_OBJECTS
        conflicts = (schema.keys() & group) - UNDERSTOOD_BESIDE[keyword] - {keyword}
        if conflicts:
            context.findings.report(
                keyword, place, f"it is not enforced beside '{sorted(conflicts)[0]}'"
            )
            schema = {key: value for key, value in schema.items() if key != keyword}
    return schema


def _by_type(
    context: Context, schema: Schema, types: Sequence[str], place: str, depth: int
) -> list[tuple[frozenset[str], list[Schema]]]:
    """What the schema says of each type's values, as schemas of which one has to hold."""
    written = []
    said = schema.keys()
    if not said.isdisjoint(OF_NUMBERS) and ("number" in types or "integer" in types):
        numbers = number_ways(context, schema, place, "number" not in types)
        written.append((frozenset(("integer", "number")), numbers))
    if not said.isdisjoint(OF_STRINGS) and "string" in types:
        written.append((frozenset(("string",)), string_ways(context, schema, place)))
    if not said.isdisjoint(OF_ARRAYS) and "array" in types:
        written.append((frozenset(("array",)), array_ways(context, schema, place, depth)))
    if not said.isdisjoint(OF_OBJECTS) and "object" in types:
        written.append((frozenset(("object",)), object_ways(context, schema, place, depth)))
    return written


def _writable_values(context: Context, values: Sequence[Any], place: str) -> list[Any] | None:
    """The values that a grammar can write exactly; None, with a finding, for any value."""
    if not context.findings.charge(_cost_of_values(values), place):
        return None
    exact = {canonical(each): each for each in values if _is_exact(each)}
    if values and not exact:
        context.findings.report(
            "const" if len(values) == 1 else "enum", place,
            "no grammar writes numbers of more than 53 bits exactly",
        )
        return None
    if context.control_tokens:
        token = control_token_in(context, json.dumps(list(exact.values()), ensure_ascii=False))
        if token:
            context.findings.report("enum", place, control_token_reason(token))
            return None
    return list(exact.values())


def _cost_of_values(values: Sequence[Any]) -> int:
    inside = sum(len(json.dumps(each)) for each in values if isinstance(each, (list, dict)))
    texts = sum(len(each) for each in values if isinstance(each, str))
    return len(values) // limits.VALUES_PER_NODE + inside // 5 + texts // 50


def _is_exact(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(_is_exact, inside))
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) < limits.EXACT_FLOAT
    return not isinstance(value, int) or abs(value) < limits.EXACT_INTEGER
