"""Regular expressions of JSON schemas, as llguidance reads them: those of Rust's ``regex``.

A schema's author had ECMA-262 in mind and is often checked by Python. Where the three read a
thing differently, what is written here matches only what all of them match.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from midm_vllm.constrained.regex.lookahead import CannotLook, without_looking

# One element: an escape, a class, the opening of a group, an anchor.
_element = re.compile(
    r"\\u\{[0-9A-Fa-f]+\}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[pP]\{[^}]*\}|\\c[A-Za-z]"
    r"|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?<?[=!]|\(\?P?<\w+>|\(\?[:a-zA-Z-]+|[$^.]|/",
    re.DOTALL,
)
_looks_around = re.compile(r"(?<!\\)(?:\\\\)*\(\?<?[=!]")
# The edge of a word where there is one anyway.
_edge_before = re.compile(r"\^\\b(?=\w(?![*?{|]))")
_edge_after = re.compile(r"(?<=[^\\]\w)\\b\$(?=$)")
#: Spaces by ECMA-262 and by Python, and those that only one of them takes for a space.
_SPACES = r"\t\n\x0b\x0c\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}"
_DOUBTFUL = r"\x1c-\x1f\u{85}\u{feff}"
#: What a letter and a digit are by Python, which takes all scripts'; llguidance takes ASCII's.
_WIDER = {r"\w": r"\w\p{L}\p{N}\p{M}", r"\d": r"\d\p{Nd}", r"\s": rf"\s{_DOUBTFUL}"}
#: How many characters of a name tell it from others.
_NAME_LENGTH = 40


class UnsupportedPattern(ValueError):
    """A pattern that no grammar matches; the message says why."""


@dataclass(frozen=True)
class RustPatterns:
    """Patterns for llguidance that have to match all, and what it took to find them, in steps."""

    patterns: tuple[str, ...]
    steps: int = 0


def rust_patterns(pattern: str) -> RustPatterns:
    """The patterns for llguidance. Raises UnsupportedPattern.

    They are more than one where the pattern begins with looking ahead: ``^(?=.*[0-9])…``.
    """
    if not _looks_around.search(pattern):
        return RustPatterns((rust_pattern(pattern),))
    pattern = _edge_after.sub("$", _edge_before.sub("^", pattern))
    try:
        patterns, steps = without_looking(pattern, _translated)
    except CannotLook as error:
        raise UnsupportedPattern(str(error)) from None
    return RustPatterns(tuple(patterns), steps)


def rust_pattern(pattern: str) -> str:
    """The pattern for llguidance. Raises UnsupportedPattern."""
    pattern = _edge_before.sub("^", pattern)
    pattern = _edge_after.sub("$", pattern)
    if re.search(r"\\[1-9]|\\k<", re.sub(r"\\\\", "", pattern)):
        raise UnsupportedPattern("it refers back to what a group has matched")
    return _element.sub(lambda element: _translated(element[0]), pattern)


def _translated(element: str) -> str:
    if element in ("(?=", "(?!", "(?<=", "(?<!"):
        raise UnsupportedPattern("it looks ahead or back")
    if element.startswith("(?P<") or element.startswith("(?<"):
        return "(?:"
    if element.startswith("["):
        return _class(element)
    if element == ".":  # ECMA-262 has more ends of lines than the others.
        return r"[^\n\r\u{2028}\u{2029}]"
    if element in (r"\A", r"\Z", r"\z"):
        return "^" if element == r"\A" else "$"
    if element == r"\s":
        return f"[{_SPACES}]"
    if element == r"\S":
        return rf"[^\s{_DOUBTFUL}]"
    if element in (r"\W", r"\D"):
        return f"[^{_WIDER[element.lower()]}]"
    if element in (r"\b", r"\B"):
        raise UnsupportedPattern("it asks for the edge of a word")
    return _escape(element)


def _escape(element: str) -> str:
    """An escape whose meaning Rust writes in another way."""
    if element in (r"\u", r"\x", r"\p", r"\P", r"\c"):
        raise UnsupportedPattern(f"{element!r} names no character")
    if element.startswith(r"\u") and not element.startswith(r"\u{"):
        if 0xD800 <= int(element[2:], 16) < 0xE000:
            raise UnsupportedPattern("it names half a character")
        return rf"\u{{{element[2:]}}}"
    if element.startswith(r"\c") and len(element) == 3:
        return rf"\x{ord(element[2].upper()) - 64:02x}"
    if len(element) == 2 and element[0] == "\\":
        if element[1] == "0":
            return r"\x00"
        if not element[1].isascii() or element[1] in "/\"' ,;=!<>@%`_:":
            return re.escape(element[1]) if element[1].isascii() else element[1]
    return element


def _class(element: str) -> str:
    negated = element.startswith("[^")
    inside = element[2 if negated else 1:-1]
    if not inside:  # "[]" matches nothing and "[^]" everything, by ECMA-262 alone.
        raise UnsupportedPattern("a class is empty; write a ']' in a class as '\\]'")

    if not negated and any(
        f"\\{kind}" in inside and f"\\{kind.upper()}" in inside for kind in "swd"
    ):
        return "(?s:.)"

    def part(found: re.Match[str]) -> str:
        text = found[0]
        if negated and text in _WIDER:
            return _WIDER[text]
        if text == r"\s":
            return _SPACES
        if text in (r"\W", r"\D", r"\S"):
            return f"[^{_WIDER[text.lower()]}]" if not negated else text
        if text == r"\b":
            return r"\x08"
        if text in ("[", "&&", "--", "~~"):  # Operators of Rust's classes.
            return "".join(f"\\{character}" for character in text)
        return _escape(text)

    written = re.sub(
        r"\\u\{[0-9A-Fa-f]+\}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[pP]\{[^}]*\}|\\c[A-Za-z]"
        r"|\\.|\[|&&|--|~~",
        part, inside, flags=re.DOTALL,
    )
    written = f"[{'^' if negated else ''}{written}]"
    return _without_controls(written) if _is_misread(element, negated) else written


def _is_misread(element: str, negated: bool) -> bool:
    """Whether llguidance takes a class for one with quotes and backslashes, which it has not.

    It does (seen in 1.7.6) where the class has control characters that JSON has no letter for.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            has = [re.match(element, character) is not None for character in '\x01\x1f"\\']
    except re.error:
        return negated
    return (has[0] or has[1]) and not (has[2] and has[3])


def _without_controls(written: str) -> str:
    return rf"[{written}&&[^\x00-\x07\x0b\x0e-\x1f]]"


def all_but(names: Iterable[str]) -> str:
    """A pattern for every string but these; of long names, but all that begin as they do."""
    tree: dict[str, dict[str, object]] = {}
    for name in sorted(names):
        node: dict[str, object] = tree  # type: ignore[assignment]
        for character in name[:_NAME_LENGTH]:
            node = node.setdefault(character, {})  # type: ignore[assignment]
        node["long" if len(name) > _NAME_LENGTH else "end"] = {}
    return f"^{_branch(tree)}$"  # type: ignore[arg-type]


def _branch(node: dict[str, object]) -> str:
    if "long" in node:
        return r"[a&&b]"  # Nothing.
    characters = [character for character in node if character != "end"]
    if not characters:
        return "(?s:.+)"
    listed = "".join(rf"\u{{{ord(character):x}}}" for character in characters)
    others = f"[^{listed}]"
    if any(character in '"\\' for character in characters):
        others = _without_controls(others)
    ways = [f"{others}(?s:.*)"] + [
        rf"\u{{{ord(character):x}}}{_branch(node[character])}"  # type: ignore[arg-type]
        for character in characters
    ]
    return f"(?:{'|'.join(ways)}){'' if 'end' in node else '?'}"
