"""Schemas of all drafts, written in one way; what is no schema, or not understood, is reported.

A normalized schema is ``True``, ``False``, or an object in which

- each keyword is in ``keywords.KEYWORDS`` and has a value of the right kind;
- ``type`` is a list, ``const`` an ``enum``, whose values are of the ``type``, a list as ``items``
  is ``prefixItems``, dependencies are ``dependentSchemas``, bounds are exclusive by their keyword;
- ``pattern`` and ``format`` are lists, since schemas that are intersected have several;
- ``$ref`` is a key that ``Normalizer.look_up`` knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_grammar import Schema
from midm_vllm.constrained.json_schema.findings import Findings
from midm_vllm.constrained.json_schema.formats import FORMATS
from midm_vllm.constrained.json_schema.intersection import restrict_values
from midm_vllm.constrained.json_schema.keywords import KEYWORDS, TYPES
from midm_vllm.constrained.json_schema.references import Scope, document_scope, has_drafts
from midm_vllm.constrained.json_schema.values import as_number, canonical, size

_EXCLUSIVE = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
_CONTAINS = frozenset(("contains", "minContains", "maxContains"))
#: What a value is where it is not of its keyword's kind.
_INVALID: Any = object()
#: What each kind is called, where that is not its name.
_KINDS = {
    "schema": "JSON schema", "schemas": "list of schemas", "named": "object of schemas",
    "names": "list of names", "types": "type", "values": "list of values", "flag": "boolean",
}
_PYTHON_TYPES: dict[str, type] = {"values": list, "text": str, "flag": bool}
_PLACES = {"items": ".items", "additionalProperties": ".*", "unevaluatedProperties": ".*"}


@dataclass(frozen=True)
class _Position:
    """Where a schema stands."""

    place: str
    scope: Scope
    depth: int

    def inside(self, step: str, scope: Scope) -> _Position:
        return _Position(self.place + step, scope, self.depth + 1)


class Normalizer:
    """Normalizes a document's schemas when they are first asked for."""

    def __init__(self, schema: Any, text: str, findings: Findings) -> None:
        self.findings = findings
        self._document = schema
        self._scope = document_scope(schema, text)
        self._has_drafts = has_drafts(text)
        self._has_resources = text.count('"$id"') > (isinstance(schema, dict) and "$id" in schema)
        self._visited = 0
        self._keys: dict[int, str] = {}
        self._targets: dict[str, tuple[str, Any, Scope]] = {}
        self._normalized: dict[str, Any] = {}

    def root(self) -> Any:
        """The whole document, normalized."""
        return self._normalize("schema", self._document, _Position("$", self._scope, 0))

    def name(self, key: str) -> str:
        """A reference as the document has it."""
        return self._targets[key][0]

    def look_up(self, key: str) -> Any:
        """The normalized schema that a normalized ``$ref`` means."""
        if key not in self._normalized:
            self._normalized[key] = False  # While it is read, which does not look it up.
            reference, schema, scope = self._targets[key]
            self._normalized[key] = self._normalize(
                "schema", schema, _Position(reference[:80], scope, 1)
            )
        return self._normalized[key]

    def _normalize(self, keyword: str, schema: Any, at: _Position) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            self.findings.report(keyword, at.place, "it is no JSON schema")
            return True
        if at.depth > limits.MAX_DEPTH:
            self.findings.report("schema", at.place, f"it nests more than {limits.MAX_DEPTH} deep")
            return True
        self._visited += 1
        if self._visited > limits.NORMALIZED_PER_NODE * self.findings.limit:
            self.findings.charge(self.findings.limit + 1, at.place)
            return True
        scope = at.scope.inside(schema)
        if scope is None:
            self.findings.report("$id", at.place, "it is no URI")
            scope = at.scope
        normalized: Schema = {}
        for keyword, value in _in_newest_draft(schema, scope).items():
            kind = KEYWORDS[keyword].kind
            if kind == "not enforced":
                self.findings.report(keyword, at.place, "it is not supported")
                continue
            if kind == "reference":
                keyword, read = "$ref", self._refer(keyword, value, at.place, scope)
                if read is None or normalized.setdefault("$ref", read) == read:
                    continue
                self.findings.report(keyword, at.place, "there is another reference beside it")
                continue
            if kind == "values" and not self.findings.charge(
                size(value) // limits.VALUES_PER_NODE, at.place
            ):
                continue
            read = self._read(keyword, kind, value, at, scope)
            if read is _INVALID:
                self.findings.report(keyword, at.place, f"it is no {_KINDS.get(kind, kind)}")
            else:
                normalized[keyword] = read
        _normalize_arrays(self.findings, normalized, at.place)
        if "format" in normalized and normalized["format"] not in FORMATS:
            del normalized["format"]
        for keyword in normalized.keys() & {"pattern", "format"}:
            normalized[keyword] = [normalized[keyword]]
        if "if" not in normalized:
            normalized.pop("then", None)
            normalized.pop("else", None)
        restrict_values(normalized)
        if normalized.keys() == {"allOf"} and len(normalized["allOf"]) == 1:
            return normalized["allOf"][0]
        return normalized or True

    def _read(self, keyword: str, kind: str, value: Any, at: _Position, scope: Scope) -> Any:
        """Read the value of a keyword, which is _INVALID where it is not of its kind."""
        if kind == "schema":
            return self._normalize("schema", value, at.inside(_PLACES.get(keyword, ""), scope))
        if kind == "schemas" and isinstance(value, list) and value:
            return [
                self._normalize(keyword, each, at.inside(f".{keyword}[{number}]", scope))
                for number, each in enumerate(value)
            ]
        if kind == "named" and isinstance(value, dict):
            is_pattern = keyword == "patternProperties"
            return {
                name: self._normalize(
                    "schema", each, at.inside(".*" if is_pattern else f".{name:.60}", scope)
                ) for name, each in value.items()
            }
        if kind in ("count", "number", "step"):
            number = as_number(value)
            if number is None or kind == "step" and number <= 0:
                return _INVALID
            is_count = isinstance(number, int) and number >= 0
            return number if is_count or kind != "count" else _INVALID
        if kind in ("names", "types"):
            if kind == "types":
                value = value if isinstance(value, list) and value else [value]
            fits = isinstance(value, list) and all(isinstance(each, str) for each in value) and (
                kind == "names" or set(value) <= set(TYPES)
            )
            return list(dict.fromkeys(value)) if fits else _INVALID
        return value if isinstance(value, _PYTHON_TYPES.get(kind, ())) else _INVALID

    def _refer(self, keyword: str, value: Any, place: str, scope: Scope) -> str | None:
        """The key of what a reference means; None, with a finding, where it is not followed."""
        if self._has_drafts or (keyword != "$ref" and self._has_resources):
            self.findings.report(keyword, place, "the document consists of several")
            return None
        if isinstance(value, str) and not self.findings.charge(value.count("/") // 4, place):
            return None
        found = scope.resolve(value) if isinstance(value, str) else None
        if found is None:
            self.findings.report("$ref", place, f"{value!r:.80} is not in the schema")
            return None
        schema, scope = found
        identity = id(schema) if isinstance(schema, dict) else int(schema)
        key = self._keys.setdefault(identity, f"d{len(self._keys)}")
        self._targets.setdefault(key, (value, schema, scope))
        return key


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
        schema["type"] = [name for name in schema.get("type", TYPES) if name != "array"]
    elif isinstance(contained, dict) and (least or most is not None):
        findings.report("contains", place, "a grammar cannot look for an item")


def _in_newest_draft(schema: Schema, scope: Scope) -> Schema:
    """What a schema means by its draft, as the newest draft writes it."""
    draft = scope.draft
    written = {
        key: value for key, value in schema.items() if key in KEYWORDS and (
            draft is None or KEYWORDS[key].first <= draft <= KEYWORDS[key].last
        )
    }
    if scope.ignores_siblings and "$ref" in written:
        return {"$ref": written["$ref"]}
    further_items = written.pop("additionalItems", None)
    if isinstance(written.get("items"), list):
        written.setdefault("prefixItems", written.pop("items"))
        if further_items is not None:
            written["items"] = further_items
    for bound, exclusive in _EXCLUSIVE:
        if isinstance(written.get(exclusive), bool):
            is_exclusive = written.pop(exclusive)
            if is_exclusive and bound in written:
                written[exclusive] = written.pop(bound)
    if "const" in written:
        values = [written.pop("const")]
        if isinstance(written.get("enum"), list):
            listed = {canonical(each) for each in written["enum"]}
            values = [each for each in values if canonical(each) in listed]
        written["enum"] = values
    dependent = _dependent_schemas(written)
    if dependent:
        written["dependentSchemas"] = dependent
    if isinstance(written.get("required"), bool) and draft != 3:
        del written["required"]  # Of the member itself, in draft 3 alone.
    return written


def _dependent_schemas(written: Schema) -> Schema:
    """All dependencies as schemas, which are taken out of what is written."""
    dependent: Schema = {}
    for keyword in ("dependentSchemas", "dependentRequired", "dependencies"):
        if not isinstance(written.get(keyword), dict):
            continue
        for name, needed in written.pop(keyword).items():
            needed = [needed] if isinstance(needed, str) else needed  # Draft 3.
            needed = {"required": needed} if isinstance(needed, list) else needed
            dependent[name] = {"allOf": [dependent[name], needed]} if name in dependent else needed
    return dependent
