"""How a JSON schema is embedded in a grammar of llguidance, behind ``%json``."""

from __future__ import annotations

import json
from typing import Any

Schema = dict[str, Any]

#: The whitespace of a value, which is that of ``json.dumps``.
WHITESPACE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
ANY_OBJECT: Schema = {"type": "object"}
_OPTIONS = f'"x-guidance": {json.dumps(WHITESPACE)}}}'


def json_grammar(text: str) -> str:
    """Return what follows ``%json`` for a schema, which is given as JSON text of an object."""
    return "{" + _OPTIONS if text == "{}" else f"{text[:-1]}, {_OPTIONS}"


#: The grammar of any object.
ANY_OBJECT_GRAMMAR = json_grammar(json.dumps(ANY_OBJECT))
