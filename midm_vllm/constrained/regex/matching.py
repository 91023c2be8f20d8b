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
    data = list(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    for each in _matchers(pattern):
        matcher = each.deep_copy()
        if matcher.try_consume_tokens(data) != len(data) or not matcher.is_accepting():
            return False
    return True


@functools.lru_cache(maxsize=500)
def _matchers(pattern: str) -> list[LLMatcher]:
    """Matchers for what a pattern is written as, which are copied before they are used."""
    matchers = []
    for each in rust_patterns(pattern, exact=True).patterns:
        schema = json.dumps({"type": "string", "pattern": each})
        grammar = LLMatcher.grammar_from_json_schema(schema, defaults=WHITESPACE)
        matchers.append(LLMatcher(byte_tokenizer(), grammar, log_level=0))
        if matchers[-1].is_error():
            raise UnsupportedPattern(matchers[-1].get_error().splitlines()[0][:200])
    return matchers
