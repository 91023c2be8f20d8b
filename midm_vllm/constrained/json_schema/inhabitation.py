"""Definitions none of whose values ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from midm_vllm.constrained.json_schema.keywords import TYPES


def endless(definitions: Mapping[str, Any]) -> frozenset[str]:
    """The names of compiled definitions that require a value of their own kind."""
    inhabited: set[str] = set()
    waiting: dict[str, list[str]] = {}
    for name, definition in definitions.items():
        for other in set(_references(definition)):
            waiting.setdefault(other, []).append(name)
    pending = list(definitions)
    while pending:
        name = pending.pop()
        if name not in inhabited and _is_inhabited(definitions[name], inhabited):
            inhabited.add(name)
            pending += waiting.get(name, ())
    return frozenset(definitions) - inhabited


def _references(part: Any) -> Iterator[str]:
    """The definitions that a compiled schema refers to."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"].rpartition("/")[2]
        part = list(part.values())
    for each in part if isinstance(part, list) else ():
        yield from _references(each)


def _is_inhabited(schema: Any, inhabited: set[str]) -> bool:
    """Whether some value of the schema ends, where those of the definitions ``inhabited`` do."""
    if not isinstance(schema, dict):
        return schema is not False
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2] in inhabited
    if not all(_is_inhabited(each, inhabited) for each in schema.get("allOf", ())):
        return False
    if "anyOf" in schema and not any(_is_inhabited(each, inhabited) for each in schema["anyOf"]):
        return False
    types = schema.get("type", TYPES)
    types = {types} if isinstance(types, str) else set(types)
    if "enum" in schema or types - {"object", "array"}:
        return True
    members = schema.get("properties", {})
    if "object" in types and all(
        _is_inhabited(members.get(name, True), inhabited) for name in schema.get("required", ())
    ):
        return True
    least, first = schema.get("minItems", 0), schema.get("prefixItems", ())
    needed = [*first[:least], *[schema.get("items", True)] * (least > len(first))]
    return "array" in types and all(_is_inhabited(each, inhabited) for each in needed)
