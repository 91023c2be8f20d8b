"""Schemas of all drafts, written in one way; what is no schema, or not understood, is reported.

A normalized schema is ``True``, ``False``, or an object in which

- each keyword is in ``keywords.KEYWORDS`` and has a value of the right kind;
- ``type`` is a list, ``const`` an ``enum``, a list as ``items`` is ``prefixItems``, dependencies
  are ``dependentSchemas``, and bounds are exclusive by their keyword;
- ``$ref`` is a key that ``Normalizer.look_up`` knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.findings import Findings
from midm_vllm.constrained.json_schema.formats import FORMATS
from midm_vllm.constrained.json_schema.keywords import KEYWORDS, TYPES
from midm_vllm.constrained.json_schema.values import canonical
from midm_vllm.constrained.json_schema.references import Document, Resource, Target

_LEGACY = frozenset(("additionalItems", "dependencies", "dependentRequired", "const"))
_EXCLUSIVE = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
_CONTAINS = frozenset(("contains", "minContains", "maxContains"))
#: What a value is where it is not of its keyword's kind.
_INVALID: Any = object()


class Normalizer:
    """Normalizes a document's schemas when they are first asked for."""

    def __init__(self, schema: Any, text: str, findings: Findings) -> None:
        self._document = Document(schema, text)
        self.findings = findings
        self._visited = 0
        self._keys: dict[int, str] = {}
        self._targets: dict[str, tuple[str, Target]] = {}
        self._normalized: dict[str, Any] = {}
        self._readers: dict[str, Callable[[str, Any, str, Resource, int], Any]] = {
            "schema": self._subschema, "schemas": self._schemas, "named": self._named,
            "reference": self._reference,
        }

    def root(self) -> Any:
        """The whole document, normalized."""
        return self._schema("schema", self._document.root.schema, "$", self._document.root, 0)

    def name(self, key: str) -> str:
        """A reference as the document has it."""
        return self._targets[key][0]

    def look_up(self, key: str) -> Any:
        """The normalized schema that a normalized ``$ref`` means."""
        if key not in self._normalized:
            self._normalized[key] = False  # While it is read, which does not look it up.
            reference, target = self._targets[key]
            self._normalized[key] = self._schema(
                "schema", target.schema, reference[:80], target.resource, 1
            )
        return self._normalized[key]

    def _schema(self, keyword: str, schema: Any, place: str, around: Resource, depth: int) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            self.findings.report(keyword, place, "it is no JSON schema")
            return True
        if depth > limits.MAX_DEPTH:
            self.findings.report("schema", place, f"it nests more than {limits.MAX_DEPTH} deep")
            return True
        self._visited += 1
        if self._visited > limits.NORMALIZED_PER_NODE * self.findings.limit:
            self.findings.charge(self.findings.limit + 1, place)
            return True
        resource = self._document.resource_of(schema, around)
        said = _relevant(schema, resource)
        normalized: Schema = {}
        for keyword, value in said.items():
            kind = KEYWORDS[keyword].kind
            if kind == "not enforced":
                self.findings.report(keyword, place, "this keyword of draft 3 is not supported")
                continue
            read = _READERS[kind](value) if kind in _READERS else self._readers[kind](
                keyword, value, place, resource, depth
            )
            if read is _INVALID:
                self.findings.report(keyword, place, _EXPECTED[kind])
            elif kind != "reference":
                normalized[keyword] = read
            elif read is not None and normalized.setdefault("$ref", read) != read:
                self.findings.report(keyword, place, "it is not followed beside '$ref'")
        _normalize_arrays(self.findings, normalized, place)
        if "format" in normalized and normalized["format"] not in FORMATS:
            del normalized["format"]
        if "if" not in normalized:
            normalized.pop("then", None)
            normalized.pop("else", None)
        return normalized or True

    # Values of each kind.

    def _schemas(
        self, keyword: str, value: Any, place: str, resource: Resource, depth: int
    ) -> Any:
        if not isinstance(value, list):
            return _INVALID
        return [
            self._schema(keyword, each, f"{place}.{keyword}[{number}]", resource, depth + 1)
            for number, each in enumerate(value)
        ] or _INVALID

    def _named(self, keyword: str, value: Any, place: str, resource: Resource, depth: int) -> Any:
        if not isinstance(value, dict):
            return _INVALID
        is_pattern = keyword == "patternProperties"
        return {
            name: self._schema(
                "schema", each, f"{place}.{'*' if is_pattern else name[:60]}", resource, depth + 1
            ) for name, each in value.items()
        }

    def _subschema(
        self, keyword: str, value: Any, place: str, resource: Resource, depth: int
    ) -> Any:
        inside = place + _PLACES.get(keyword, "")
        return self._schema("schema", value, inside, resource, depth + 1)

    def _reference(
        self, keyword: str, value: Any, place: str, resource: Resource, depth: int
    ) -> Any:
        if keyword != "$ref" and self._document.has_resources:
            self.findings.report(keyword, place, "it depends on the schemas that lead to it")
            return None
        target = self._document.resolve(value, resource) if isinstance(value, str) else None
        if target is None:
            self.findings.report("$ref", place, f"{value!r:.80} is not in the schema")
            return None
        identity = id(target.schema) if isinstance(target.schema, dict) else int(target.schema)
        key = self._keys.setdefault(identity, f"d{len(self._keys)}")
        self._targets.setdefault(key, (value, target))
        return key


_PLACES = {"items": ".items", "additionalProperties": ".*", "unevaluatedProperties": ".*"}


def _normalize_arrays(findings: Findings, schema: Schema, place: str) -> None:
    """Write ``contains`` as a number of items, where that is what it means."""
    if not schema.get("uniqueItems", True):
        del schema["uniqueItems"]
    if not schema.keys() & _CONTAINS:
        return
    contained = schema.pop("contains", None)
    least, most = schema.pop("minContains", 1), schema.pop("maxContains", None)
    if contained is True:
        schema["minItems"] = max(least, schema.get("minItems", 0))
        if most is not None:
            schema["maxItems"] = min(most, schema.get("maxItems", most))
    elif contained is False and least:
        types = [name for name in schema.get("type", TYPES) if name != "array"]
        schema["type"] = types
        if not types:
            schema["enum"] = []
    elif isinstance(contained, dict) and (least or most is not None):
        findings.report("contains", place, "a grammar cannot look for an item")


def _relevant(schema: Schema, resource: Resource) -> Schema:
    """What a schema says by its draft, as newer drafts write it."""
    draft = resource.draft
    if draft is None:
        said = {key: value for key, value in schema.items() if key in KEYWORDS}
    else:
        said = {
            key: value for key, value in schema.items()
            if key in KEYWORDS and KEYWORDS[key].first <= draft <= KEYWORDS[key].last
        }
    if resource.ignores_siblings and "$ref" in said:
        return {"$ref": said["$ref"]}
    if isinstance(said.get("items"), list):
        said.setdefault("prefixItems", said.pop("items"))
        if "additionalItems" in said:
            said["items"] = said["additionalItems"]
    for bound, exclusive in _EXCLUSIVE:
        if isinstance(said.get(exclusive), bool):
            is_exclusive = said.pop(exclusive)
            if is_exclusive and bound in said:
                said[exclusive] = said.pop(bound)
    if said.keys() & _LEGACY:
        _replace_legacy(said)
    if isinstance(said.get("required"), bool) and draft != 3:
        del said["required"]  # Of the member itself, in draft 3 alone.
    return said


def _replace_legacy(said: Schema) -> None:
    said.pop("additionalItems", None)
    if "const" in said:
        values = [said.pop("const")]
        if isinstance(said.get("enum"), list):
            excluded = {canonical(each) for each in said["enum"]}
            values = [each for each in values if canonical(each) in excluded]
        said["enum"] = values
    dependent: Schema = {}
    for keyword in ("dependentSchemas", "dependentRequired", "dependencies"):
        given = said.get(keyword)
        if not isinstance(given, dict):
            continue
        del said[keyword]
        for name, needed in given.items():
            needed = [needed] if isinstance(needed, str) else needed  # Draft 3.
            needed = {"required": needed} if isinstance(needed, list) else needed
            dependent[name] = {"allOf": [dependent[name], needed]} if name in dependent else needed
    if dependent:
        said["dependentSchemas"] = dependent


def as_number(value: Any) -> int | float | None:
    """A JSON number, as an integer where it is one; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < limits.EXACT_INTEGER:
        return int(value)
    return value if isinstance(value, int) or math.isfinite(value) else None


def _unique_if(value: Any, fits: Callable[[Any], bool]) -> Any:
    """A list without repetitions, if each of its items fits."""
    return list(dict.fromkeys(value)) if isinstance(value, list) and all(map(fits, value)) else (
        _INVALID
    )


def _number_if(value: Any, fits: Callable[[float], bool]) -> Any:
    number = as_number(value)
    return number if number is not None and fits(number) else _INVALID


def _if_type(value: Any, type_: type) -> Any:
    return value if isinstance(value, type_) else _INVALID


#: Reads the values of each kind that are no schemas; what is of another kind, as _INVALID.
_READERS: dict[str, Callable[[Any], Any]] = {
    "names": lambda value: _unique_if(value, lambda name: isinstance(name, str)),
    "types": lambda value: _unique_if(
        value if isinstance(value, list) and value else [value], lambda name: name in TYPES
    ),
    "count": lambda value: _number_if(value, lambda each: isinstance(each, int) and each >= 0),
    "number": lambda value: _number_if(value, lambda number: True),
    "step": lambda value: _number_if(value, lambda number: number > 0),
    "values": lambda value: _if_type(value, list),
    "text": lambda value: _if_type(value, str),
    "flag": lambda value: _if_type(value, bool),
}
_EXPECTED = {
    "schema": "it is no JSON schema", "schemas": "it is no list of schemas",
    "named": "it is no object of schemas", "names": "it is no list of names",
    "types": "it is no type", "count": "it is no count", "number": "it is no number",
    "step": "it is no step", "values": "it is no list of values", "pattern": "it is no text",
    "text": "it is no text", "flag": "it is neither true nor false",
}
