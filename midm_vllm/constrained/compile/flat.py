"""Schemas without combining keywords in the terms of llguidance, type by type."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.numbers import number_ways
from midm_vllm.constrained.compile.objects import object_ways
from midm_vllm.constrained.compile.strings import has_control_token, string_ways, write_counts
from midm_vllm.constrained.json_grammar import Schema, accepts
from midm_vllm.constrained.json_schema.intersection import is_unsatisfiable
from midm_vllm.constrained.json_schema.keywords import (
    EVALUATED,
    OF_ARRAYS,
    OF_NUMBERS,
    OF_OBJECTS,
    OF_STRINGS,
    TYPES,
    not_understood,
)
from midm_vllm.constrained.json_schema.values import canonical, types_of_value

if TYPE_CHECKING:
    from midm_vllm.constrained.compile.compiler import SchemaCompiler


def compile_flat(compiler: SchemaCompiler, schema: Any, place: str, depth: int) -> Any:
    """Compile a schema without combining keywords; False where nothing is valid by it."""
    if isinstance(schema, bool):
        return schema
    if is_unsatisfiable(schema):
        return False
    if schema.keys() == {"type"}:  # As most are.
        return _typed({}, schema["type"])
    if "enum" in schema:
        return _compile_values(compiler, schema, place, depth)
    for keyword in not_understood(frozenset(schema)):
        compiler.findings.report(keyword, place, "it is not enforced beside the others there")
        schema = {key: value for key, value in schema.items() if key != keyword}
    allowed: list[str] = schema.get("type", list(TYPES))
    # llguidance takes conditions for numbers as those for integers where both are listed.
    types = [name for name in allowed if name != "integer" or "number" not in allowed]
    is_restricted = "type" in schema
    rest: Schema = {}
    ways: list[Schema] = []
    for names, written in _ways_by_type(compiler, schema, types, place, depth):
        if len(written) == 1:
            rest |= written[0]
            continue
        is_restricted = True
        own = [name for name in types if name in names]
        types = [name for name in types if name not in names]
        ways += [_typed(each, own) for each in written]
    if types:
        ways.append(_typed(rest, types if is_restricted else None))
    return {"anyOf": ways} if len(ways) > 1 else ways[0] if ways else False


def _compile_values(compiler: SchemaCompiler, schema: Schema, place: str, depth: int) -> Any:
    """Compile listed values: those that are valid by the rest of the schema."""
    values = _writable_values(compiler, schema["enum"], place)
    types = {name for value in schema["enum"] for name in types_of_value(value)}
    rest = {key: value for key, value in schema.items() if key not in ("enum", EVALUATED)}
    members = rest.get("properties", {})
    # Listed objects may have members that are not named, in any order.
    is_open = {"additionalProperties": True} if members else {}
    restriction = compile_flat(
        compiler, {**is_open, **rest, "type": sorted(types)}, place, depth
    )
    if values is None:
        return restriction
    if restriction is not False and rest:
        text = json.dumps(restriction)
        try:
            values = [each for each in values if accepts(text, _text_of(each, members))]
        except ValueError:  # It refers to definitions, most likely.
            compiler.needs_validation = True
            return {"allOf": [restriction, {"enum": values}]}
    return {"enum": values} if values and restriction is not False else False


def _text_of(value: Any, members: Schema) -> str:
    """A value as JSON text, with the members of an object in order."""
    if isinstance(value, dict):
        value = {**{name: value[name] for name in members if name in value}, **value}
    return json.dumps(value, ensure_ascii=False)


def _typed(schema: Schema, types: Sequence[str] | None) -> Schema:
    """A schema with its types, as llguidance reads them."""
    if types is None:
        return schema
    return {"type": types[0] if len(types) == 1 else list(types), **schema}


def _ways_by_type(
    compiler: SchemaCompiler, schema: Schema, types: Sequence[str], place: str, depth: int
) -> Iterator[tuple[tuple[str, ...], list[Schema]]]:
    """What the schema says of values of some types, as schemas of which one has to hold."""
    keywords = schema.keys()
    if not keywords.isdisjoint(OF_NUMBERS) and ("number" in types or "integer" in types):
        yield ("integer", "number"), number_ways(compiler, schema, place, "number" not in types)
    if not keywords.isdisjoint(OF_STRINGS) and "string" in types:
        yield ("string",), string_ways(compiler, schema, place)
    if not keywords.isdisjoint(OF_ARRAYS) and "array" in types:
        yield ("array",), _array_ways(compiler, schema, place, depth)
    if not keywords.isdisjoint(OF_OBJECTS) and "object" in types:
        yield ("object",), object_ways(compiler, schema, place, depth)


def _array_ways(compiler: SchemaCompiler, schema: Schema, place: str, depth: int) -> list[Schema]:
    written = write_counts(compiler, schema, place, "Items", limits.MAX_ITEMS)
    least, most = written.get("minItems", 0), written.get("maxItems", limits.MAX_ITEMS)
    if schema.get("uniqueItems") and most > 1:
        compiler.findings.report("uniqueItems", place, "a grammar cannot compare items")
    first = [
        compiler.compile_subschema(item, f"{place}.prefixItems[{number}]", depth)
        for number, item in enumerate(schema.get("prefixItems", ()))
    ]
    if first:
        compiler.needs_validation = True
        written["prefixItems"] = first
    items = schema.get("items", True)
    if items is not True:
        items = written["items"] = compiler.compile_subschema(items, f"{place}.items", depth)
    needed = [*first[:least], *[items] * (least > len(first))]
    return [] if least > most or False in needed else [written]


def _writable_values(
    compiler: SchemaCompiler, values: Sequence[Any], place: str
) -> list[Any] | None:
    """The values that a grammar can write exactly; None, with a finding, for any value."""
    inside = sum(len(json.dumps(each)) for each in values if isinstance(each, (list, dict)))
    texts = sum(len(each) for each in values if isinstance(each, str))
    cost = len(values) // limits.VALUES_PER_NODE + inside // 5 + texts // 50
    if not compiler.findings.charge(cost, place):
        return None
    exact = list({canonical(each): each for each in values if _is_exact(each)}.values())
    if values and not exact:
        compiler.findings.report(
            "const" if len(values) == 1 else "enum", place,
            "no grammar writes numbers of more than 53 bits exactly",
        )
        return None
    text = json.dumps(exact, ensure_ascii=False)
    return None if has_control_token(compiler, "enum", text, place) else exact


def _is_exact(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(_is_exact, inside))
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) < limits.EXACT_FLOAT
    return not isinstance(value, int) or abs(value) < limits.EXACT_INTEGER
