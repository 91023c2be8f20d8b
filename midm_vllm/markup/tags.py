"""The tags of Mi:dm's tool-call markup, and how to find one that a delta cuts."""

from __future__ import annotations

OPENING_TAG = "<tool_call>"
CLOSING_TAG = "</tool_call>"
TAGS = (OPENING_TAG, CLOSING_TAG)
#: The tokens that end a turn of Mi:dm, and an output.
END_TOKENS = ("<|eot_id|>", "<|end_of_text|>")
WHITESPACE = " \t\n\r"


def unfinished_tag(text: str, start: int, *tags: str) -> int:
    """Return where ``text`` ends in a proper prefix of a tag, or its length if it does not."""
    at = text.rfind("<", max(start, len(text) - len(CLOSING_TAG) + 1))
    if at >= 0 and any(tag.startswith(text[at:]) for tag in tags):
        return at
    return len(text)
