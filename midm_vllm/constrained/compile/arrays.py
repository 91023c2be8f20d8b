"""Arrays in the terms of llguidance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.context import Context
from midm_vllm.constrained.compile.strings import write_counts
from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.disjointness import follow
from midm_vllm.constrained.json_schema.values import canonical, types_of_value


def array_ways(context: Context, schema: Schema, place: str, depth: int) -> list[Schema]:
    """What a flat schema says of arrays, as schemas of which one has to hold."""
    written: Schema = {}
    write_counts(context, schema, written, place, "Items", limits.MAX_ITEMS)
    least, most = written.get("minItems", 0), written.get("maxItems", limits.MAX_ITEMS)
    if least > most:
        return []
    if schema.get("uniqueItems") and most > 1:
        arrays = _arrays_without_repetition(
            _listed_values(context, schema.get("items", True)), least, most
        )
        if arrays is None:
            context.findings.report("uniqueItems", place, "its items are too many to be counted")
        elif context.findings.charge(2 * len(arrays), place):
            return [{"enum": arrays}] if arrays else []
    prefix = schema.get("prefixItems", [])
    if prefix:
        written["prefixItems"] = [
            context.compile_subschema(item, f"{place}.prefixItems[{number}]", depth)
            for number, item in enumerate(prefix)
        ]
    items = schema.get("items", True)
    if items is not True:
        items = written["items"] = context.compile_subschema(items, f"{place}.items", depth)
    items_by_position = [*written.get("prefixItems", ()), items]
    if least and False in items_by_position[:least] or (
        least > len(prefix) and items is False
    ):
        return []
    return [written]


def _listed_values(context: Context, items: Any) -> Sequence[Any] | None:
    """The values that items may have, where they are listed."""
    schema = follow(items, context.look_up)
    if schema == {"type": ["boolean"]}:
        return [True, False]
    if not isinstance(schema, dict) or not schema.keys() <= {"enum", "type"}:
        return None
    types = set(schema.get("type", ()))
    return [
        value for value in schema.get("enum", ())
        if not types or types.intersection(types_of_value(value))
    ] if "enum" in schema else None


def _arrays_without_repetition(
    values: Sequence[Any] | None, least: int, most: int
) -> list[list[Any]] | None:
    """All arrays without the same item twice; where they are many, in the schema's order only."""
    if values is None or len(values) > limits.MAX_UNIQUE_VALUES:
        return None
    if len({canonical(value) for value in values}) < len(values):
        return None
    sizes = range(least, min(len(values), most) + 1)
    listed: Any = itertools.permutations
    if sum(math.perm(len(values), size) for size in sizes) > limits.MAX_LISTED_ARRAYS:
        listed = itertools.combinations
    return [list(each) for size in sizes for each in listed(values, size)]
