"""Where a schema stands in its document, and what references mean there.

Nothing is fetched. A reference is resolved within the document, or not at all.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from referencing import Registry, Resource
from referencing.jsonschema import (
    DRAFT3,
    DRAFT4,
    DRAFT6,
    DRAFT7,
    DRAFT201909,
    DRAFT202012,
)

from midm_vllm.constrained.limits import MAX_CRAWLED

_SPECIFICATIONS = {3: DRAFT3, 4: DRAFT4, 6: DRAFT6, 7: DRAFT7, 2019: DRAFT201909}
#: References but to definitions by their place, and what changes where a place is.
_NEEDS_CRAWLING = re.compile(r'"\$?id": "|"\$(?:ref|dynamicRef|recursiveRef)": "(?!#[/"])')
_DRAFT = re.compile(r"json-schema\.org/(?:draft-0?([3-7])\b|draft/(2019|2020)-)")


@dataclass(frozen=True)
class Scope:
    """The resource (the document, or a schema with ``$id``) that a schema stands in."""

    #: A ``Resolver`` of ``referencing``.
    resolver: Any
    #: Of the ``$schema``; None where there is none, and all drafts' keywords are read.
    draft: int | None

    @property
    def ignores_siblings(self) -> bool:
        """Whether ``$ref`` stands alone: to draft 7."""
        return self.draft is not None and self.draft < 2019

    def inside(self, schema: dict[str, Any]) -> Scope | None:
        """The scope of a schema's own keywords; None where the resource's name is no URI."""
        if schema.keys().isdisjoint(("$id", "id", "$schema")):
            return self
        draft = _draft_of(schema) or self.draft
        try:
            return Scope(self.resolver.in_subresource(_resource(schema, draft)), draft)
        except (AttributeError, ValueError):
            return None

    def resolve(self, reference: str) -> tuple[Any, Scope] | None:
        """What a reference means, and where that stands; None where it is not in the document."""
        try:
            resolved = self.resolver.lookup(reference)
        except Exception:  # It leads nowhere, is no URI, or the document is no schema there.
            return None
        if not isinstance(resolved.contents, (bool, dict)):
            return None
        return resolved.contents, Scope(resolved.resolver, self.draft)


def document_scope(document: Any, text: str) -> Scope:
    """The scope that a document stands in, which is given as JSON text, too."""
    draft = _draft_of(document)
    resource = _resource(document, draft)
    uri = ""
    with suppress(AttributeError):  # Its name is no text, which is reported where it is read.
        uri = (resource.id() or "").rstrip("#")
    registry = Registry({uri: resource})  # type: ignore[call-arg]
    # Once: each reference that needs it would have it done again.
    if _NEEDS_CRAWLING.search(text) and text.count("{") <= MAX_CRAWLED:
        with suppress(Exception):  # Some of the document may be no schema.
            registry = Registry().with_resource(uri, resource).crawl()
    return Scope(registry.resolver(uri), draft)


def has_drafts(text: str) -> bool:
    """Whether a document, given as JSON text, may name different drafts."""
    return text.count('"$schema"') > 1 and len(set(_DRAFT.findall(text))) > 1


def _resource(schema: Any, draft: int | None) -> Resource[Any]:
    return _SPECIFICATIONS.get(draft or 2020, DRAFT202012).create_resource(schema)


def _draft_of(schema: Any) -> int | None:
    named = schema.get("$schema") if isinstance(schema, dict) else None
    found = _DRAFT.search(named) if isinstance(named, str) else None
    return int(found[1] or found[2]) if found else None
