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
    matcher = _matcher(pattern).deep_copy()
    data = list(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()


@functools.lru_cache(maxsize=500)
def _matcher(pattern: str) -> LLMatcher:
    """A matcher for a pattern, which is copied before it is used."""
    patterns = [{"pattern": each} for each in rust_patterns(pattern, exact=True).patterns]
    schema = json.dumps({"type": "string", "allOf": patterns})
    grammar = LLMatcher.grammar_from_json_schema(schema, defaults=WHITESPACE)
    matcher = LLMatcher(byte_tokenizer(), grammar, log_level=0)
    if matcher.is_error():
        raise UnsupportedPattern(matcher.get_error().splitlines()[0][:200])
    return matcher
