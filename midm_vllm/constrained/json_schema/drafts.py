"""Older ways to write a JSON schema (drafts 3 to 7), said as draft 2020-12 says them."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def is_before_2019(document: Any) -> bool:
    """Whether a document's ``$schema`` names draft 7 or an older one, where ``$ref`` is alone."""
    named = str(document.get("$schema")) if isinstance(document, dict) else ""
    return any(f"draft-0{number}" in named for number in range(3, 8))


def modern(schema: Schema, before_2019: bool) -> Schema:
    """One schema, without what is in it, as draft 2020-12 writes it."""
    if "$ref" in schema and before_2019:
        return {"$ref": schema["$ref"]}
    written = schema
    if isinstance(schema.get("items"), list) and "prefixItems" not in schema:
        written = {key: value for key, value in written.items() if key != "items"}
        written["prefixItems"] = schema["items"]
        if "additionalItems" in schema:
            written["items"] = schema["additionalItems"]
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if isinstance(schema.get(exclusive), bool):
            written = {key: value for key, value in written.items() if key != exclusive}
            if schema[exclusive] and bound in schema:
                written[exclusive] = written.pop(bound)
    if isinstance(schema.get("dependencies"), dict):
        written = {key: value for key, value in written.items() if key != "dependencies"}
        names = {k: v for k, v in schema["dependencies"].items() if isinstance(v, list)}
        schemas = {k: v for k, v in schema["dependencies"].items() if not isinstance(v, list)}
        written["dependentRequired"] = {**schema.get("dependentRequired", {}), **names}
        written["dependentSchemas"] = {**schema.get("dependentSchemas", {}), **schemas}
    if isinstance(schema.get("required"), bool):  # Draft 3, of the member itself.
        written = {key: value for key, value in written.items() if key != "required"}
    return written
