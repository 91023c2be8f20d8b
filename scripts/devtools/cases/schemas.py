"""Twenty kinds of tool schema, bounded so that a model which says anything still comes to an end.

The tests have the untrained checkpoint call tools with them.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _closed(required: Schema, **more: Any) -> Schema:
    return {
        "type": "object",
        "properties": required,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


SCHEMAS: dict[str, Schema] = {
    "enums": _closed({"unit": {"enum": ["섭씨", "화씨", "kelvin"]},
                      "level": {"enum": [1, 2.5, None]}}),
    "constant": _closed({"version": {"const": 'v"2\\'}, "on": {"const": True}}),
    "nested objects": _closed({"a": _closed({"b": _closed({"c": {"type": "boolean"}})})}),
    "array with bounds": _closed({
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 5},
                 "minItems": 2, "maxItems": 4},
    }),
    "array of objects": _closed({
        "rows": {"type": "array", "maxItems": 3, "items": _closed({
            "x": {"type": "integer", "minimum": -9, "maximum": 9}, "ok": {"type": "boolean"},
        })},
    }),
    "tuple": _closed({
        "point": {"type": "array", "prefixItems": [
            {"type": "integer", "minimum": 0, "maximum": 99}, {"enum": ["동", "서"]},
        ], "items": False, "minItems": 2},
    }),
    "integers with limits": _closed({
        "low": {"type": "integer", "minimum": -128, "maximum": 127},
        "half": {"type": "integer", "minimum": 0.5, "exclusiveMaximum": 12},
    }),
    "numbers with limits": _closed({
        "ratio": {"type": "number", "minimum": 0, "maximum": 1},
        "celsius": {"type": "number", "exclusiveMinimum": -273.15, "maximum": 1000},
    }),
    "optional members": {
        "type": "object",
        "properties": {
            "a": {"type": "boolean"}, "b": {"type": "null"},
            "c": {"type": "string", "maxLength": 3}, "d": {"enum": ["x"]},
        },
        "required": ["b"],
    },
    "union": _closed({
        "value": {"anyOf": [
            {"type": "string", "maxLength": 4}, {"type": "integer", "minimum": 0, "maximum": 50},
            {"type": "null"}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        ]},
    }),
    "union told apart": _closed({
        "shape": {"oneOf": [{"$ref": "#/$defs/Circle"}, {"$ref": "#/$defs/Square"}],
                  "discriminator": {"propertyName": "kind"}},
    }, **{"$defs": {
        "Circle": _closed({"kind": {"const": "circle"}, "filled": {"type": "boolean"}}),
        "Square": _closed({"kind": {"const": "square"},
                           "side": {"type": "integer", "minimum": 1, "maximum": 9}}),
    }}),
    "several types": _closed({"a": {"type": ["boolean", "null"]},
                              "b": {"type": ["string", "null"], "maxLength": 6}}),
    "pattern": _closed({"code": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3}$"},
                        "word": {"type": "string", "pattern": "^[^aeiou]{1,8}$"}}),
    "pattern in Hangul": _closed({"이름": {"type": "string", "pattern": "^[가-힣]{2,4}$"},
                                  "시": {"type": "string", "pattern": "^(?:서울|부산|제주)$"}}),
    "formats": _closed({"day": {"type": "string", "format": "date"},
                        "id": {"type": "string", "format": "uuid"}}),
    "bounded strings": _closed({"text": {"type": "string", "minLength": 3, "maxLength": 40}}),
    "keys of all kinds": _closed({"도시": {"type": "boolean"}, 'say "hi"': {"type": "null"},
                                  "C:\\path": {"type": "boolean"}, "a\nb": {"type": "null"}}),
    "recursion": {
        "type": "object",
        "properties": {"child": {"$ref": "#"}, "leaf": {"type": "boolean"}},
        "additionalProperties": False,
    },
    "as Pydantic writes it": {
        "title": "Order",
        "type": "object",
        "properties": {
            "size": {"allOf": [{"$ref": "#/$defs/Size"}], "default": "S"},
            "note": {"anyOf": [{"type": "string", "maxLength": 10}, {"type": "null"}],
                     "default": None, "title": "Note"},
        },
        "$defs": {"Size": {"enum": ["S", "M"], "title": "Size", "type": "string"}},
    },
    "no parameters": {"type": "object", "properties": {}},
}
