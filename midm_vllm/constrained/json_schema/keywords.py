"""The keywords of JSON Schema that are understood, and which of them together.

A keyword that is not enforced, or stands beside others with which it is not understood, is
reported. What asserts nothing (titles, formats that are not enforced, keywords that no draft
defines) is left out without a report, as the standard wants it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")


class Keyword(NamedTuple):
    """What a keyword's value has to be, and in which drafts it means something."""

    #: schema, schemas, named (schemas), names, types, count, number, step, values, value, text,
    #: flag, reference; or "not enforced".
    kind: str
    first: int = 3
    last: int = 2020


KEYWORDS: dict[str, Keyword] = {
    "$ref": Keyword("reference"),
    "$dynamicRef": Keyword("reference", 2020),
    "$recursiveRef": Keyword("reference", 2019, 2019),
    "type": Keyword("types"),
    "enum": Keyword("values"),
    "const": Keyword("value", 6),
    "allOf": Keyword("schemas", 4),
    "anyOf": Keyword("schemas", 4),
    "oneOf": Keyword("schemas", 4),
    "not": Keyword("schema", 4),
    "if": Keyword("schema", 7),
    "then": Keyword("schema", 7),
    "else": Keyword("schema", 7),
    "minimum": Keyword("number"),
    "maximum": Keyword("number"),
    "exclusiveMinimum": Keyword("number"),
    "exclusiveMaximum": Keyword("number"),
    "multipleOf": Keyword("step", 4),
    "minLength": Keyword("count"),
    "maxLength": Keyword("count"),
    "pattern": Keyword("text"),
    "format": Keyword("text"),
    "items": Keyword("schema"),
    "prefixItems": Keyword("schemas", 2020),
    "minItems": Keyword("count"),
    "maxItems": Keyword("count"),
    "uniqueItems": Keyword("flag"),
    "contains": Keyword("schema", 6),
    "minContains": Keyword("count", 2019),
    "maxContains": Keyword("count", 2019),
    "unevaluatedItems": Keyword("schema", 2019),
    "properties": Keyword("named"),
    "required": Keyword("names"),
    "additionalProperties": Keyword("schema"),
    "patternProperties": Keyword("named"),
    "propertyNames": Keyword("schema", 6),
    "minProperties": Keyword("count", 4),
    "maxProperties": Keyword("count", 4),
    "dependentRequired": Keyword("named", 2019),
    "dependentSchemas": Keyword("named", 2019),
    "unevaluatedProperties": Keyword("schema", 2019),
    # Of old drafts; written as newer ones before they are read.
    "additionalItems": Keyword("schema", 3, 2019),
    "dependencies": Keyword("named", 3, 7),
    # Of draft 3, and not enforced.
    "disallow": Keyword("not enforced", 3, 3),
    "divisibleBy": Keyword("not enforced", 3, 3),
    "extends": Keyword("not enforced", 3, 3),
}
#: Negations that have been found, as a list: a keyword of ours.
NEGATED = "negated"
#: Keywords that combine schemas, in the order in which they are multiplied out.
COMBINING = ("$ref", "allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", NEGATED)
#: Keywords of schemas that mean something where they are referred to.
DEFINITIONS = ("$defs", "definitions")
#: What a negated list of texts leaves: a keyword of ours.
EXCLUDED_TEXTS = "excluded texts"
#: What a flat schema evaluates: members and items, as a schema that allows them anything.
EVALUATED = "evaluated"
#: Which keywords for values of one type are understood together: those that one row has. Keywords
#: for different types assert nothing about the same value, and those that combine schemas are
#: multiplied out, so that each combination of what they lead to is looked up here.
_UNDERSTOOD_TOGETHER = {
    "number": (
        {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    ),
    "string": (
        {"minLength", "maxLength", "pattern", "format", EXCLUDED_TEXTS},
    ),
    "array": (
        {"items", "prefixItems", "minItems", "maxItems"},
        {"items", "minItems", "maxItems", "uniqueItems"},
    ),
    "object": (
        {"properties", "required", "additionalProperties", "minProperties", "maxProperties",
         "patternProperties"},
        {"properties", "required", "additionalProperties", "minProperties", "maxProperties",
         "propertyNames"},
    ),
}
OF_NUMBERS, OF_STRINGS, OF_ARRAYS, OF_OBJECTS = (
    frozenset().union(*rows) for rows in _UNDERSTOOD_TOGETHER.values()
)


@functools.lru_cache(maxsize=2000)
def not_understood(keywords: frozenset[str]) -> frozenset[str]:
    """The fewest keywords of a flat schema without which the others are understood together."""
    understood = {"type", "enum", "allOf", EVALUATED}
    for rows in _UNDERSTOOD_TOGETHER.values():
        understood |= max((keywords & row for row in rows), key=len)
    return keywords - understood


def subschemas(keyword: str, value: Any) -> Iterable[Any]:
    """The schemas that a keyword's value consists of, whether they are read or not."""
    kind = KEYWORDS[keyword].kind if keyword in KEYWORDS else ""
    if kind == "named" or keyword in DEFINITIONS:
        return value.values() if isinstance(value, dict) else ()
    if kind in ("schema", "schemas"):
        return value if isinstance(value, list) else (value,)
    return ()
