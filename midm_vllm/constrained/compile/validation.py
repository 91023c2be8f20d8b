"""Compiled schemas, validated with llguidance.

llguidance rejects a schema as a whole, so its strings and patterns of names are validated one by
one when they are compiled. Validating all takes as long as compiling, and is skipped for schemas
of plain keywords.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_grammar import WHITESPACE, Schema
from midm_vllm.constrained.regex.matching import byte_tokenizer

#: A fraction of what vLLM's engine allows, so that reading ends soon, and no mask comes near it.
_LIMITS = LLParserLimits(
    max_grammar_size=25_000, initial_lexer_fuel=500_000, step_lexer_fuel=50_000,
    step_max_items=10_000, max_items_in_row=1000, verbose_errors=False,
)
# Where llguidance's message says where in the grammar it stopped.
_where = re.compile(r"^at [^:]*: (?:failed to compile JSON schema: )?")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_PLAIN = frozenset(_BOUNDS) | {
    "type", "enum", "properties", "required", "additionalProperties", "patternProperties", "items",
    "minItems", "maxItems", "anyOf", "minLength", "maxLength", "pattern", "format", "allOf",
}


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


def skips_validation(schema: Schema, text: str, nodes: int, other_names: Collection[str]) -> bool:
    """Whether llguidance certainly accepts a compiled schema, by what it consists of.

    Args:
        schema: The schema.
        text: The same as JSON text.
        nodes: What it cost.
        other_names: Patterns that were made for the names of further members.
    """
    return (
        nodes <= limits.MAX_UNVALIDATED_NODES
        and len(text) <= limits.MAX_UNVALIDATED_CHARACTERS
        and _is_plain(schema, other_names)
    )


def _is_plain(schema: Any, other_names: Collection[str]) -> bool:
    if isinstance(schema, bool) or "enum" in schema and schema.keys() <= {"enum", "type"}:
        return True
    bounds = [schema[key] for key in _BOUNDS if key in schema]
    parts = [schema[key] for key in ("items", "additionalProperties") if key in schema]
    return (
        schema.keys() <= _PLAIN
        and "enum" not in schema
        and schema.get("patternProperties", {}).keys() <= other_names
        and all(isinstance(each, int) and abs(each) < 10**9 for each in bounds)
        and all(
            _is_plain(each, other_names) for each in (
                *parts, *schema.get("anyOf", ()), *schema.get("properties", {}).values(),
                *schema.get("patternProperties", {}).values(),
            )
        )
    )
