"""Arrays in the terms of llguidance."""

from __future__ import annotations

from midm_vllm.constrained import limits
from midm_vllm.constrained.compile.context import Context
from midm_vllm.constrained.compile.strings import write_counts
from midm_vllm.constrained.json_grammar import Schema


def array_ways(context: Context, schema: Schema, place: str, depth: int) -> list[Schema]:
    """What a flat schema says of arrays, as schemas of which one has to hold."""
    written: Schema = {}
    write_counts(context, schema, written, place, "Items", limits.MAX_ITEMS)
    least, most = written.get("minItems", 0), written.get("maxItems", limits.MAX_ITEMS)
    if schema.get("uniqueItems") and most > 1:
        context.findings.report("uniqueItems", place, "a grammar cannot compare items")
    prefix = schema.get("prefixItems", [])
    if prefix:
        written["prefixItems"] = [
            context.compile_subschema(item, f"{place}.prefixItems[{number}]", depth)
            for number, item in enumerate(prefix)
        ]
    items = schema.get("items", True)
    if items is not True:
        items = written["items"] = context.compile_subschema(items, f"{place}.items", depth)
    needed = [*written.get("prefixItems", ())][:least] + [items] * (least > len(prefix))
    return [] if least > most or False in needed else [written]
