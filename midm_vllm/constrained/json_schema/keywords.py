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


KEYWORDS: dict[str, Keyword] = {name: keyword for keyword, names in (
    (Keyword("reference"), "$ref"),
    (Keyword("reference", 2020), "$dynamicRef"),
    (Keyword("reference", 2019, 2019), "$recursiveRef"),
    (Keyword("types"), "type"),
    (Keyword("values"), "enum"),
    (Keyword("value", 6), "const"),
    (Keyword("number"), "minimum maximum exclusiveMinimum exclusiveMaximum"),
    (Keyword("step", 4), "multipleOf"),
    (Keyword("text"), "pattern format"),
    (Keyword("flag"), "uniqueItems"),
    (Keyword("count"), "minLength maxLength minItems maxItems"),
    (Keyword("count", 4), "minProperties maxProperties"),
    (Keyword("count", 2019), "minContains maxContains"),
    (Keyword("names"), "required"),
    (Keyword("named"), "properties patternProperties"),
    (Keyword("named", 3, 7), "dependencies"),
    (Keyword("named", 2019), "dependentRequired dependentSchemas"),
    (Keyword("schema"), "items additionalProperties"),
    (Keyword("schema", 3, 2019), "additionalItems"),
    (Keyword("schema", 4), "not"),
    (Keyword("schema", 6), "contains propertyNames"),
    (Keyword("schema", 7), "if then else"),
    (Keyword("schema", 2019), "unevaluatedItems unevaluatedProperties"),
    (Keyword("schemas", 4), "allOf anyOf oneOf"),
    (Keyword("schemas", 2020), "prefixItems"),
    (Keyword("not enforced", 3, 3), "disallow divisibleBy extends"),
) for name in names.split()}
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
