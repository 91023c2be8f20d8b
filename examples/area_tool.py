"""The tool that the agents of this folder use, as a JSON Schema and as a function."""

from __future__ import annotations

import json
from typing import Any, Literal

QUESTION = "84제곱미터는 몇 평이야?"
NAME = "convert_area"
DESCRIPTION = "넓이의 단위를 바꾼다."
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "value": {"type": "number"},
        "from_unit": {"type": "string", "enum": ["제곱미터", "평"]},
        "to_unit": {"type": "string", "enum": ["제곱미터", "평"]},
    },
    "required": ["value", "from_unit", "to_unit"],
}
TOOL = {
    "type": "function",
    "function": {"name": NAME, "description": DESCRIPTION, "parameters": PARAMETERS},
}
Unit = Literal["제곱미터", "평"]
# One 평 is a square of six 자, 20/11 m.
SQUARE_METRES: dict[Unit, float] = {"제곱미터": 1.0, "평": 400 / 121}


def converted_area(value: float, from_unit: Unit, to_unit: Unit) -> str:
    """An area in another unit, to two digits, as JSON."""
    converted = value * SQUARE_METRES[from_unit] / SQUARE_METRES[to_unit]
    return json.dumps({"value": round(converted, 2), "unit": to_unit}, ensure_ascii=False)


def convert_area(value: float, from_unit: Unit, to_unit: Unit) -> str:
    """The same; prints the call."""
    print(NAME, value, from_unit, to_unit)
    return converted_area(value, from_unit, to_unit)
