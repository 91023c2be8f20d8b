"""The words of JSON schemas: which keywords are read, and which say nothing of a value."""

from __future__ import annotations

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
#: Keywords that say nothing of a value.
ANNOTATIONS = frozenset((
    "$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "title", "description",
    "default", "examples", "deprecated", "readOnly", "writeOnly",
))
#: Keywords that combine schemas, in the order in which they are multiplied out.
COMBINING = (
    "$ref", "allOf", "anyOf", "oneOf", "not", "if", "dependentRequired", "dependentSchemas",
)
#: Keywords that say something of numbers, texts, arrays and objects alone.
OF_NUMBERS = frozenset((
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
))
OF_TEXTS = frozenset(("minLength", "maxLength", "pattern", "format"))
OF_ARRAYS = frozenset((
    "items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "unevaluatedItems",
))
OF_OBJECTS = frozenset((
    "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
    "minProperties", "maxProperties", "unevaluatedProperties",
))
#: Keywords of a flat schema.
FLAT = frozenset(("type", "enum", "const", "$dynamicRef", "$recursiveRef")).union(
    OF_NUMBERS, OF_TEXTS, OF_ARRAYS, OF_OBJECTS
)
#: Keywords that hold a schema or a list of them, and those that hold schemas by name.
WITH_SCHEMAS = frozenset((
    "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "items", "prefixItems", "contains",
    "additionalItems", "unevaluatedItems", "additionalProperties", "unevaluatedProperties",
    "propertyNames",
))
WITH_NAMED_SCHEMAS = frozenset((
    "properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions",
))
