"""Texts of a grammar: whether it takes one, and texts drawn at random from all it allows."""

from __future__ import annotations

import random
from functools import cache

from llguidance import LLMatcher, LLTokenizer

ENDS = tuple(b'"]}')


@cache
def tokenizer() -> LLTokenizer:
    return LLTokenizer("byte")


def allows(grammar: str, text: str) -> bool:
    """Whether a Lark grammar allows exactly this text."""
    error = LLMatcher.validate_grammar(grammar, tokenizer())
    assert not error, f"{error}\n{grammar}"
    matcher = LLMatcher(tokenizer(), grammar, log_level=0)
    data = text.encode()
    return bool(matcher.try_consume_tokens(list(data)) == len(data) and matcher.is_accepting())


def draw(grammar: str, source: random.Random, limit: int = 150) -> str | None:
    """A text drawn byte by byte; None if it has not ended after `limit` bytes."""
    matcher = LLMatcher(tokenizer(), grammar, log_level=0)
    data = b""
    for _ in range(limit):
        bitmask = matcher.compute_bitmask()
        assert not matcher.is_error(), matcher.get_error()
        allowed = [code for code in range(256) if bitmask[code // 8] >> (code % 8) & 1]
        if matcher.is_accepting() and (not allowed or source.random() < 0.5):
            return data.decode()
        if not allowed:
            return None
        # Closing a string, a list or an object is drawn more often, to come to an end.
        ends = [code for code in allowed if code in ENDS]
        code = source.choice(ends if ends and source.random() < 0.3 else allowed)
        if not matcher.consume_token(code):
            # A value without an end (an array in an array in an …): llguidance gives it up.
            assert "Too many items" in matcher.get_error()
            return None
        data += bytes([code])
    return None
