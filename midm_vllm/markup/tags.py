"""The tags of Mi:dm's tool-call markup, and how to find one that a delta cuts."""

from __future__ import annotations

OPENING_TAG = "<tool_call>"
CLOSING_TAG = "</tool_call>"
TAGS = (OPENING_TAG, CLOSING_TAG)
#: The proper prefixes of the tags.
OPENING_PREFIXES = frozenset(OPENING_TAG[:end] for end in range(1, len(OPENING_TAG)))
CLOSING_PREFIXES = frozenset(CLOSING_TAG[:end] for end in range(1, len(CLOSING_TAG)))
TAG_PREFIXES = OPENING_PREFIXES | CLOSING_PREFIXES
#: The tokens that end a turn of Mi:dm, and an output.
END_TOKENS = ("<|eot_id|>", "<|end_of_text|>")
WHITESPACE = " \t\n\r"


def unfinished_tag(text: str, start: int, prefixes: frozenset[str] = TAG_PREFIXES) -> int:
    """Return where ``text`` ends in one of the prefixes, or its length if it does not."""
    at = text.rfind("<", max(start, len(text) - len(CLOSING_TAG) + 1))
    return at if at >= 0 and text[at:] in prefixes else len(text)
