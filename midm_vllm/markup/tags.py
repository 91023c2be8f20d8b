"""The tags of Mi:dm's tool-call markup, and finding them where a delta cuts them."""

from __future__ import annotations

OPENING_TAG = "<tool_call>"
CLOSING_TAG = "</tool_call>"
TAGS = (OPENING_TAG, CLOSING_TAG)
#: The tokens with which Mi:dm ends a turn, and an output.
END_TOKENS = ("<|eot_id|>", "<|end_of_text|>")
WHITESPACE = " \t\n\r"


def unfinished_tag(text: str, start: int, *tags: str) -> int:
    """Where a proper prefix of a tag stands at the end of ``text``, or its length."""
    at = text.rfind("<", max(start, len(text) - len(CLOSING_TAG) + 1))
    if at >= 0 and any(tag.startswith(text[at:]) for tag in tags):
        return at
    return len(text)
