"""Compiled schemas, validated with llguidance.

llguidance rejects a schema as a whole, so its strings and patterns of names are validated one by
one when they are compiled. Validating all takes as long as compiling, and is skipped where no
``SchemaCompiler.needs_validation`` asks for it.
"""

from __future__ import annotations

import functools
import re

from llguidance import LLMatcher, LLParserLimits

from midm_vllm.constrained.json_grammar import WHITESPACE, byte_tokenizer

#: A fraction of what vLLM's engine allows, so that reading ends soon, and no mask comes near it.
_LIMITS = LLParserLimits(
    max_grammar_size=25_000, initial_lexer_fuel=500_000, step_lexer_fuel=50_000,
    step_max_items=10_000, max_items_in_row=1000, verbose_errors=False,
)
# Where llguidance's message says where in the grammar it stopped.
_where = re.compile(r"^at [^:]*: (?:failed to compile JSON schema: )?")
#: How the message begins where no value is valid.
UNSATISFIABLE = "Unsatisfiable schema"


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
