"""A JSON schema as a grammar of llguidance: written, validated, and tried without a model.

A schema is given as JSON text of an object. llguidance rejects it as a whole, so strings and
patterns of names are validated one by one when they are compiled (``part_error``).
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

Schema = dict[str, Any]

#: The whitespace of a value, which is that of ``json.dumps``.
WHITESPACE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
ANY_OBJECT: Schema = {"type": "object"}
#: A fraction of what vLLM's engine allows, so that reading ends soon, and no mask comes near it.
_LIMITS = LLParserLimits(
    max_grammar_size=25_000, initial_lexer_fuel=500_000, step_lexer_fuel=50_000,
    step_max_items=10_000, max_items_in_row=1000, verbose_errors=False,
)
# Where llguidance's message says where in the grammar it stopped.
_where = re.compile(r"^at [^:]*: (?:failed to compile JSON schema: )?")
#: How the message begins where no value is valid.
UNSATISFIABLE = "Unsatisfiable schema"
_OPTIONS = f'"x-guidance": {json.dumps(WHITESPACE)}}}'


def json_grammar(schema: str) -> str:
    """Return what follows ``%json`` for a schema."""
    return "{" + _OPTIONS if schema == "{}" else f"{schema[:-1]}, {_OPTIONS}"


#: The grammar of any object.
ANY_OBJECT_GRAMMAR = json_grammar(json.dumps(ANY_OBJECT))


@functools.lru_cache(maxsize=1)
def byte_tokenizer() -> LLTokenizer:
    """A tokenizer whose tokens are bytes, for grammars that are tried without a model."""
    return LLTokenizer("byte")


def accepts(schema: str, text: str) -> bool:
    """Whether a model could write a text by a schema.

    Raises:
        ValueError: llguidance rejects the schema; the message is its own.
    """
    matcher = _matcher(schema)
    if matcher.is_error():
        raise ValueError(matcher.get_error().splitlines()[0][:200])
    tokens = [*text.encode("utf-8", "surrogatepass"), byte_tokenizer().eos_token]
    return bool(matcher.deep_copy().validate_tokens(tokens) == len(tokens))


@functools.lru_cache(maxsize=300)
def _matcher(schema: str) -> LLMatcher:
    grammar = LLMatcher.grammar_from_json_schema(schema, defaults=WHITESPACE)
    return LLMatcher(byte_tokenizer(), grammar, log_level=0)


def validation_error(text: str) -> str:
    """Why llguidance rejects a schema, given as JSON text, or an empty text."""
    # As JSON, and not as Lark around it, whose own reading takes five times as long.
    try:
        grammar = LLMatcher.grammar_from_json_schema(text, defaults=WHITESPACE)
    except ValueError as error:  # It nests deeper than llguidance reads JSON.
        return str(error)
    if '"$ref"' in text or len(text) > 5000 and '"anyOf"' in text:
        # What is open at once shows in the first mask only.
        matcher = LLMatcher(byte_tokenizer(), grammar, log_level=0, limits=_LIMITS)
        matcher.compute_bitmask()
        message: str = matcher.get_error()
    else:
        message = LLMatcher.validate_grammar(grammar, byte_tokenizer(), limits=_LIMITS)
    return _where.sub("", message.splitlines()[0])[:200] if message else ""


@functools.lru_cache(maxsize=2000)
def part_error(text: str) -> str:
    """The same for a part of a schema, which others have, too."""
    return validation_error(text)
