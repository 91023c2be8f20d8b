"""A flat schema (types, values, numbers, text, items, members) in the words of llguidance."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

from midm_vllm.constrained.json_schema.negation import choices, same
from midm_vllm.constrained.compile.objects import by_count, with_room, write_members
from midm_vllm.constrained.json_schema.intersection import OBJECT_KEYWORDS, is_impossible
from midm_vllm.constrained.compile.scalars import (
    EXACT,
    Schema,
    Writer,
    write_counts,
    write_numbers,
    write_text,
)
from midm_vllm.constrained.json_schema.keywords import (
    ANNOTATIONS,
    OF_ARRAYS,
    OF_NUMBERS,
    OF_OBJECTS,
    OF_TEXTS,
    TYPES,
)

MAX_ITEMS = 5_000
#: Arrays without the same item twice are listed, up to as many.
MAX_ARRAYS = 100


_ONLY_TYPE = {"type"}


def write_flat(writer: Writer, schema: Schema, place: str, depth: int) -> Any:
    """A schema without combining keywords; False where nothing is valid by it."""
    if schema.keys() == _ONLY_TYPE and isinstance(schema["type"], str) and schema["type"] in TYPES:
        return {"type": schema["type"]}  # As most are.
    schema = with_room(schema)
    counted = by_count(schema)
    if counted == []:
        return _write_no_object(writer, schema, place, depth)
    if counted is not None:
        if not writer.counts(len(counted), place):
            return {}
        return {"anyOf": [write_flat(writer, each, place, depth) for each in counted]}
    if is_impossible({"type": "object", **schema}):
        return _write_no_object(writer, schema, place, depth)
    written: Schema = {}
    _types(writer, schema, written, place)
    if not _values(writer, schema, written, place):
        return False
    said = schema.keys()
    if not said.isdisjoint(OF_NUMBERS):
        write_numbers(writer, schema, written, place)
    if not said.isdisjoint(OF_TEXTS):
        write_text(writer, schema, written, place)
    if not said.isdisjoint(OF_ARRAYS):
        _items(writer, schema, written, place, depth)
    if not said.isdisjoint(OF_OBJECTS) and not write_members(
        writer, schema, written, place, depth
    ):
        return _write_no_object(writer, schema, place, depth)
    for keyword, reason in _UNSAID.items():
        if keyword in schema and schema[keyword] not in (True, {}):
            writer.free(keyword, place, reason)
    beside = [write_flat(writer, each, place, depth) for each in schema.get("allOf", ())]
    if beside:
        written.setdefault("allOf", []).extend(beside)
    return written


_UNSAID = {
    "contains": "a grammar cannot look for an item",
    "unevaluatedItems": "it is enforced as 'items' only",
    "$dynamicRef": "only '$ref' is followed",
    "$recursiveRef": "only '$ref' is followed",
}


def _write_no_object(writer: Writer, schema: Schema, place: str, depth: int) -> Any:
    """A schema by which no object is valid."""
    named = schema.get("type", list(TYPES))
    kinds = [kind for kind in (named if isinstance(named, list) else [named]) if kind != "object"]
    if not kinds or schema.get("enum") == []:
        return False
    of_objects = {*OBJECT_KEYWORDS, "minProperties", "maxProperties"}
    rest = {key: value for key, value in schema.items() if key not in of_objects}
    return write_flat(writer, {**rest, "type": kinds}, place, depth)


def _types(writer: Writer, schema: Schema, written: Schema, place: str) -> None:
    if "type" not in schema:
        return
    named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if named and all(isinstance(name, str) and name in TYPES for name in named):
        written["type"] = schema["type"]
    else:
        writer.free("type", place, f"{schema['type']!r:.80} is no type")


def _values(writer: Writer, schema: Schema, written: Schema, place: str) -> bool:
    kept: dict[str, Any] | None = None
    for keyword in ("enum", "const"):
        if keyword not in schema:
            continue
        values = choices({keyword: schema[keyword]})
        if values is None:
            writer.free(keyword, place, "it is no list of values")
            continue
        if not writer.counts(_cost_of_values(values), place):
            return True
        exact = {same(each): each for each in values if _is_exact(each)}
        if values and not exact:
            writer.free(keyword, place, "no grammar writes numbers of more than 53 bits exactly")
            continue
        kept = exact if kept is None else {key: kept[key] for key in kept if key in exact}
    if kept is not None:
        written["enum"] = list(kept.values())
    return kept is None or bool(kept)


def _cost_of_values(values: Sequence[Any]) -> int:
    inside = sum(len(json.dumps(each)) for each in values if isinstance(each, (list, dict)))
    texts = sum(len(each) for each in values if isinstance(each, str))
    return len(values) // 8 + inside // 5 + texts // 50


def _is_exact(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(_is_exact, inside))
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) < 1e15
    return isinstance(value, bool) or not isinstance(value, int) or abs(value) < EXACT


def _items(writer: Writer, schema: Schema, written: Schema, place: str, depth: int) -> None:
    write_counts(writer, schema, written, place, "Items", MAX_ITEMS)
    prefix = schema.get("prefixItems", [])
    if isinstance(prefix, list) and prefix:
        written["prefixItems"] = [
            writer.node(item, f"{place}.prefixItems[{number}]", depth)
            for number, item in enumerate(prefix)
        ]
    items = schema.get("items", schema.get("unevaluatedItems", True))
    if items is not True:
        written["items"] = writer.node(items, f"{place}.items", depth)
    if schema.get("uniqueItems") is True and written.get("maxItems", 2) > 1:
        if "anyOf" in written:  # Of its numbers, some of which are given up then.
            written |= written.pop("anyOf")[0]
        arrays = None if prefix else _arrays_without_repetition(
            written, _values_meant(writer, items, written.get("items"))
        )
        if arrays is None:
            writer.free("uniqueItems", place, "its items are too many to be counted")
        elif writer.counts(2 * len(arrays), place):
            for keyword in ("items", "minItems", "maxItems"):
                written.pop(keyword, None)
            written["anyOf"] = [{"enum": arrays}] if "type" in written else [
                {"enum": arrays}, {"type": [kind for kind in TYPES if kind != "array"]}
            ]


def _values_meant(writer: Writer, items: Any, written: Any) -> Sequence[Any] | None:
    """The values that items may have, where they are listed, here or by a reference."""
    if isinstance(items, dict) and items.keys() - ANNOTATIONS == {"$ref"} and isinstance(
        items["$ref"], str
    ):
        written = writer.look_up(items["$ref"])
        written = isinstance(written, dict) and {
            key: value for key, value in written.items() if key not in ANNOTATIONS
        }
    if written == {"type": "boolean"}:
        return [True, False]
    values = choices(written)
    if values is None or not written.keys() <= {"enum", "const", "type"}:
        return None
    kind = written.get("type")
    fitting = {None: object, "string": str, "integer": int}.get(str(kind) if kind else None)
    if fitting is None or not all(isinstance(each, fitting) for each in values):
        return None
    return values if kind != "integer" or not any(isinstance(each, bool) for each in values) else (
        None
    )


def _arrays_without_repetition(
    written: Schema, values: Sequence[Any] | None
) -> list[list[Any]] | None:
    if values is None or len(values) > 8 or len({same(each) for each in values}) < len(values):
        return None
    sizes = range(written.get("minItems", 0), min(len(values), written.get("maxItems", 99)) + 1)
    if sum(math.perm(len(values), size) for size in sizes) <= MAX_ARRAYS:
        listed: Any = itertools.permutations
    else:
        listed = itertools.combinations  # In the schema's order only.
    return [list(each) for size in sizes for each in listed(values, size)] or None
