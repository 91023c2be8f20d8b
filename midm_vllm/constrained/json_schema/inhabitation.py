"""Definitions none of whose values has an end: an object that requires one of its own kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from midm_vllm.constrained.json_schema.keywords import TYPES


def uninhabited(definitions: Mapping[str, Any]) -> set[str]:
    """The names of those that have no finite value, of definitions as they were rewritten."""
    ending: set[str] = set()
    waiting: dict[str, list[str]] = {}
    ahead = list(definitions)
    for name, definition in definitions.items():
        for other in set(_referred_to(definition)):
            waiting.setdefault(other, []).append(name)
    while ahead:
        name = ahead.pop()
        if name not in ending and _has_end(definitions[name], ending):
            ending.add(name)
            ahead += waiting.get(name, ())
    return set(definitions) - ending


def _referred_to(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"].rpartition("/")[2]
        part = part.values()
    elif not isinstance(part, list):
        return
    for each in part:
        yield from _referred_to(each)


def _has_end(schema: Any, ending: set[str]) -> bool:
    """Whether some value of the schema ends, where those of the definitions ``ending`` do."""
    if not isinstance(schema, dict):
        return schema is not False
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2] in ending
    if not all(_has_end(each, ending) for each in schema.get("allOf", ())):
        return False
    if "anyOf" in schema and not any(_has_end(each, ending) for each in schema["anyOf"]):
        return False
    if "enum" in schema:
        return True
    types = schema.get("type", TYPES)
    types = [types] if isinstance(types, str) else types
    if set(types) - {"object", "array"}:
        return True
    if "object" in types:
        members = schema.get("properties", {})
        if all(_has_end(members.get(name, True), ending) for name in schema.get("required", ())):
            return True
    if "array" not in types:
        return False
    least, first = schema.get("minItems", 0), schema.get("prefixItems", ())
    return all(_has_end(each, ending) for each in first[:least]) and (
        least <= len(first) or _has_end(schema.get("items", True), ending)
    )
