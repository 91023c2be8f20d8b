"""Decodes the escapes in JSON strings, also while they arrive."""

from __future__ import annotations

import re

ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))",
    re.DOTALL,
)
LONGEST_ESCAPE = 12
UNFINISHED_ESCAPE = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3}"
    r"|u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?)?"
)
_SHORT_ESCAPES = {
    '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"
}


def decode(string: str) -> str:
    """Decode what stands between a JSON string's quotes."""
    return ESCAPE.sub(decode_escape, string) if "\\" in string else string


def decode_escape(match: re.Match[str]) -> str:
    """Return the character of a JSON escape; an invalid one stays as written."""
    high, low, code, short = match.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    if code:
        number = int(code, 16)
        # Half of a surrogate pair is not a character, and cannot be encoded as UTF-8.
        return match[0] if 0xD800 <= number <= 0xDFFF else chr(number)
    return _SHORT_ESCAPES.get(short, match[0])
