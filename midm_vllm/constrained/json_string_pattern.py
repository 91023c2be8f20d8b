"""A schema's ``pattern`` as xgrammar reads it rightly, inside a JSON string, or not at all.

xgrammar matches the whole string. It ignores look-around and anchors inside a
pattern, writes what JSON escapes without escaping it, and takes for a character
that is not in a class bytes that are no UTF-8.
"""

from __future__ import annotations

import json
import re

import xgrammar

# What has a meaning in a regular expression: escapes, classes, groups, anchors.
_part = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?(?!:)|[()|^$.]", re.DOTALL)
#: What stands for all characters but some -> those.
_COMPLEMENTS = {
    ".": r"\n\r", r"\D": r"\d", r"\S": r"\s", r"\W": r"\w",
    r"[\s\S]": "", r"[\S\s]": "", r"[\d\D]": "", r"[\D\d]": "", r"[\w\W]": "", r"[\W\w]": "",
}
# One class for each number of bytes in UTF-8: joined, xgrammar lets other bytes through.
_BEYOND_ASCII = r"[\x80-\u07ff]|[\u0800-\ud7ff]|[\ue000-\uffff]|[\u{10000}-\u{10ffff}]"
# Where xgrammar's message says in which line of its sources it was written.
_origin = re.compile(r"^\[[^\]]*\] \S+:\d+: ")


class UnsupportedPattern(ValueError):
    """A pattern that cannot be enforced; the message says why."""


def json_string_pattern(pattern: str) -> str:
    """The pattern to give to xgrammar. Raises UnsupportedPattern."""
    _check_parts(pattern)
    try:
        named = _part.sub(lambda part: _named(part[0]), pattern)
    except re.error as error:
        raise UnsupportedPattern(str(error)) from error
    # Beyond ASCII, xgrammar reads escapes alone as characters of a JSON string.
    escaped = "".join(
        character if character.isascii() else f"\\u{{{ord(character):x}}}" for character in named
    )
    try:
        grammar = str(xgrammar.Grammar.from_json_schema(
            json.dumps({"type": "string", "pattern": escaped})
        ))
    except RuntimeError as error:
        raise UnsupportedPattern(reason_of(error)) from error
    if "json_string=true" not in grammar and escaped.strip("^$"):
        raise UnsupportedPattern(
            "it wants characters that JSON escapes (quotes, backslashes, line ends)"
        )
    return escaped


def _check_parts(pattern: str) -> None:
    depth = 0
    for part in _part.finditer(pattern):
        text = part[0]
        if text == "(?":
            raise UnsupportedPattern("of the groups that begin with (? only (?: can be enforced")
        if text in ("[]", "[^]"):
            raise UnsupportedPattern("write a ']' in a class as '\\]'")
        if text.startswith("[^") and (not text.isascii() or "\\u" in text):
            raise UnsupportedPattern("a class cannot exclude characters beyond ASCII")
        depth += {"(": 1, ")": -1}.get(text, 0)
        before, after = pattern[part.start() - 1:part.start()], pattern[part.end():part.end() + 1]
        neighbour = {"^": before, "$": after}.get(text, "")
        if text in "^$" and (depth or neighbour not in ("", "|")):
            raise UnsupportedPattern("an anchor inside it cannot be enforced")


def _named(part: str) -> str:
    """A part of a pattern, where all that is *not* in a class is named."""
    if part in _COMPLEMENTS:
        excluded = _COMPLEMENTS[part]
    elif part.startswith("[^"):
        excluded = part[2:-1]
    else:
        return part
    ascii_left = "".join(
        f"\\x{code:02x}" for code in range(128)
        if not (excluded and re.fullmatch(f"[{excluded}]", chr(code), re.ASCII))
    )
    return f"(?:[{ascii_left}]|{_BEYOND_ASCII})"


def reason_of(error: RuntimeError) -> str:
    """xgrammar's message, without the time and the place in its sources."""
    return _origin.sub("", str(error)).strip()
