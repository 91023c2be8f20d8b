"""How a JSON schema is embedded in a grammar of llguidance, behind ``%json``; and what it accepts.

A schema is given as JSON text of an object.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from llguidance import LLMatcher, LLTokenizer

Schema = dict[str, Any]

#: The whitespace of a value, which is that of ``json.dumps``.
WHITESPACE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
ANY_OBJECT: Schema = {"type": "object"}
_OPTIONS = f'"x-guidance": {json.dumps(WHITESPACE)}}}'


def json_grammar(schema: str) -> str:
    """Return what follows ``%json`` for a schema."""
    return "{" + _OPTIONS if schema == "{}" else f"{schema[:-1]}, {_OPTIONS}"


#: The grammar of any object.
ANY_OBJECT_GRAMMAR = json_grammar(json.dumps(ANY_OBJECT))


def accepts(schema: str, text: str) -> bool:
    """Whether a model could write a text by a schema.

    Raises:
        ValueError: llguidance rejects the schema; the message is its own.
    """
    tokens = [*text.encode("utf-8", "surrogatepass"), byte_tokenizer().eos_token]
    return bool(_matcher(schema).deep_copy().validate_tokens(tokens) == len(tokens))


@functools.lru_cache(maxsize=1)
def byte_tokenizer() -> LLTokenizer:
    """A tokenizer whose tokens are bytes, for grammars that are tried without a model."""
    return LLTokenizer("byte")


@functools.lru_cache(maxsize=300)
def _matcher(schema: str) -> LLMatcher:
    """A matcher, which is copied before it is used."""
    grammar = LLMatcher.grammar_from_json_schema(schema, defaults=WHITESPACE)
    matcher = LLMatcher(byte_tokenizer(), grammar, log_level=0)
    if matcher.is_error():
        raise ValueError(matcher.get_error().splitlines()[0][:200])
    return matcher
