"""Whether a pattern matches a text, as llguidance matches what is written for it."""

from __future__ import annotations

import functools
import json

from llguidance import LLMatcher, LLTokenizer

from midm_vllm.constrained.json_grammar import WHITESPACE
from midm_vllm.constrained.regex.parser import UnsupportedPattern
from midm_vllm.constrained.regex.rust_dialect import rust_patterns


@functools.lru_cache(maxsize=1)
def byte_tokenizer() -> LLTokenizer:
    """A tokenizer whose tokens are bytes, for grammars that are tried without a model."""
    return LLTokenizer("byte")


@functools.lru_cache(maxsize=5000)
def matches(pattern: str, text: str) -> bool:
    """Whether an ECMA-262 pattern matches somewhere in a text. Raises UnsupportedPattern."""
    for each in rust_patterns(pattern, exact=True).patterns:
        grammar = json.dumps({"type": "string", "pattern": each})
        if not accepts(LLMatcher.grammar_from_json_schema(grammar, defaults=WHITESPACE), text):
            return False
    return True


def accepts(grammar: str, value: str) -> bool:
    """Whether a grammar accepts a string as JSON."""
    matcher = LLMatcher(byte_tokenizer(), grammar, log_level=0)
    if matcher.is_error():
        raise UnsupportedPattern(matcher.get_error().splitlines()[0][:200])
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return bool(
        matcher.try_consume_tokens(list(data)) == len(data) and matcher.is_accepting()
    )
