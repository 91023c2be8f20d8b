"""The document that a schema is: its resources (``$id``), their drafts, and what references mean.

Nothing is fetched. A reference is resolved within the document, or not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin

from midm_vllm.constrained.json_schema.keywords import subschemas
from midm_vllm.constrained.limits import MAX_DEPTH

_DRAFT = re.compile(r"json-schema\.org/(?:draft-0?([3-7])\b|draft/(2019|2020)-)")


@dataclass(frozen=True)
class Resource:
    """A schema with an ``$id`` of its own, or the whole document."""

    uri: str
    schema: Any
    #: Of its ``$schema``; None where it names none, and all drafts' keywords are read.
    draft: int | None

    @property
    def ignores_siblings(self) -> bool:
        """Whether ``$ref`` stands alone: to draft 7."""
        return self.draft is not None and self.draft < 2019


@dataclass(frozen=True)
class Target:
    """What a reference means, and where that is."""

    schema: Any
    resource: Resource


def draft_of(schema: Any) -> int | None:
    """The draft that a schema's ``$schema`` names."""
    named = schema.get("$schema") if isinstance(schema, dict) else None
    found = _DRAFT.search(named) if isinstance(named, str) else None
    return int(found[1] or found[2]) if found else None


class Document:
    """A schema and all that is in it.

    Args:
        schema: As JSON values.
        text: The same as JSON text.
    """

    def __init__(self, schema: Any, text: str) -> None:
        draft = draft_of(schema)
        uri = _identifier(schema, draft)
        self.root = Resource(uri.rstrip("#") if not uri.startswith("#") else "", schema, draft)
        identifiers = text.count('"$id"') + (text.count('"id"') if draft in (3, 4) else 0)
        self._may_have_resources = identifiers > bool(uri)
        self._is_indexed = False
        self._resources = {self.root.uri: self.root}
        self._anchors: dict[tuple[str, str], Any] = {}
        #: The resources of schemas, by identity; of those that are not in it, the root.
        self._resource_of: dict[int, Resource] = {}

    @property
    def has_resources(self) -> bool:
        """Whether there is another resource than the whole document."""
        if self._may_have_resources:
            self._index()
        return len(self._resources) > 1

    def resource_of(self, schema: Any, around: Resource) -> Resource:
        """The resource of a schema that stands in another."""
        if not self.has_resources:
            return around
        return self._resource_of.get(id(schema), around)

    def resolve(self, reference: str, resource: Resource) -> Target | None:
        """What a reference in a resource means; None where that is not in the document."""
        uri, _, fragment = reference.partition("#")
        if uri:
            joined = _join(resource.uri, uri)
            if joined != resource.uri:
                self._index()
                found = self._resources.get(joined)
                if found is None:
                    return None
                resource = found
        if not fragment:
            return Target(resource.schema, resource)
        if fragment.startswith("/"):
            return self._follow_pointer(unquote(fragment), resource)
        self._index()
        schema = self._anchors.get((resource.uri, fragment))
        return None if schema is None else Target(schema, self.resource_of(schema, resource))

    def _follow_pointer(self, pointer: str, resource: Resource) -> Target | None:
        target: Any = resource.schema
        for part in pointer.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            try:
                target = target[int(part) if isinstance(target, list) else part]
            except (KeyError, IndexError, ValueError, TypeError):
                return None
        if isinstance(target, bool):
            return Target(target, resource)
        if not isinstance(target, dict):
            return None
        if self.has_resources and id(target) not in self._resource_of:
            return None  # No keyword has schemas there: its base URI is unknown.
        return Target(target, self._resource_of.get(id(target), resource))

    def _index(self) -> None:
        if self._is_indexed:
            return
        self._is_indexed = True
        level = [(self.root.schema, self.root)]
        for _ in range(2 * MAX_DEPTH):
            level = [
                (child, inside) for schema, around in level if isinstance(schema, dict)
                for inside in (self._enter(schema, around),)
                for keyword, value in schema.items() for child in subschemas(keyword, value)
            ]

    def _enter(self, schema: dict[str, Any], around: Resource) -> Resource:
        """Index a schema, and return its resource."""
        resource = around
        draft = draft_of(schema) or around.draft
        uri = _identifier(schema, draft)
        if uri.startswith("#") and len(uri) > 1:
            self._anchors.setdefault((around.uri, uri[1:]), schema)
        elif uri and schema is not self.root.schema:
            uri = _join(around.uri, uri).rstrip("#")
            resource = self._resources.setdefault(uri, Resource(uri, schema, draft))
        self._resource_of[id(schema)] = resource
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(schema.get(keyword), str) and not resource.ignores_siblings:
                self._anchors.setdefault((resource.uri, schema[keyword]), schema)
        return resource


def _join(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError:  # It is no URI.
        return reference


def _identifier(schema: Any, draft: int | None) -> str:
    if not isinstance(schema, dict):
        return ""
    if "$ref" in schema and draft is not None and draft < 2019:
        return ""
    value = schema.get("id" if draft in (3, 4) else "$id")
    return value if isinstance(value, str) else ""
