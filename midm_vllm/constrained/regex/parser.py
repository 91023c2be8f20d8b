"""Patterns of JSON schemas, parsed as ECMA-262 defines them.

What ECMA-262 does not define, or engines disagree about, is rejected with a reason. Two spellings
of Python are read: ``(?P<name>…)``, and ``\\A`` and ``\\Z`` as anchors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from midm_vllm.constrained.limits import MAX_GROUP_DEPTH

_CHARACTER = (
    r"(?:\\(?:u\{[0-9A-Fa-f]{1,6}\}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[pP]\{[\w=]+\}|c[A-Za-z]"
    r"|[0-9]+|.?)|[^\\])"
)
_CLASS_ITEM = re.compile(rf"({_CHARACTER})(?:-({_CHARACTER}))?", re.DOTALL)
_TOKEN = re.compile(
    r"(?P<group>\((?:\?(?:<?[=!]|:|P?<[A-Za-z_]\w*>)?)?)"
    r"|(?P<quantifier>(?:[*+?]|\{[0-9]{1,20}(?:,[0-9]{0,20})?\}|\{,[0-9]{0,20}\})\??)"
    rf"|\[(?P<class>(?:\\.|[^\\\]])*)\]?|{_CHARACTER}", re.DOTALL,
)
_REJECTED = {
    "(?<=": "it looks back", "(?<!": "it looks back", r"\k": "it refers back to a group",
    r"\b": "it asks for the edge of a word", r"\B": "it asks for the edge of a word",
    "(?": "a group in it is not known to ECMA-262", "\\": "it ends with a backslash",
}
_BOUNDS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_CODES = {"0": 0, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}


class UnsupportedPattern(ValueError):
    """A pattern that cannot be enforced; the message says why."""


@dataclass(frozen=True)
class CharClass:
    """Ranges of code points and shorthands: d, D, w, W, s, S, p{…}, and a dot."""

    items: tuple[tuple[int, int] | str, ...]
    is_negated: bool = False


@dataclass(frozen=True)
class Group:
    branches: Branches


@dataclass(frozen=True)
class Lookahead:
    branches: Branches
    is_negative: bool


@dataclass(frozen=True)
class Repeat:
    part: CharClass | Group
    least: int
    most: int | None


#: Text is an anchor: ``^`` or ``$``.
Node = CharClass | Group | Lookahead | Repeat | str
#: Alternatives, each a sequence.
Branches = tuple[tuple[Node, ...], ...]

_ATOMS: dict[str, Node] = {
    "^": "^", r"\A": "^", "$": "$", r"\Z": "$", r"\z": "$", ".": CharClass((".",)),
}


def parse(pattern: str) -> Branches:
    """Parse a pattern. Raises UnsupportedPattern."""
    tokens = [*_TOKEN.finditer(pattern)][::-1]
    branches = _parse_branches(tokens, 0)
    if tokens:
        raise UnsupportedPattern("a group is closed that was not opened")
    return branches


def _parse_branches(tokens: list[re.Match[str]], depth: int) -> Branches:
    """Parse to the end of a group. Tokens are in reverse order."""
    if depth > MAX_GROUP_DEPTH:
        raise UnsupportedPattern("its groups nest too deep")
    branches: list[list[Node]] = [[]]
    while tokens and tokens[-1][0] != ")":
        token = tokens.pop()
        text, branch = token[0], branches[-1]
        if text in _REJECTED:
            raise UnsupportedPattern(_REJECTED[text])
        if text == "|":
            branches.append([])
        elif token["group"]:
            inner = _parse_branches(tokens, depth + 1)
            if not tokens:
                raise UnsupportedPattern("a group is not closed")
            tokens.pop()
            if text in ("(?=", "(?!"):
                branch.append(Lookahead(inner, text == "(?!"))
            elif len(inner) > 1 or tokens and tokens[-1]["quantifier"]:
                branch.append(Group(inner))
            else:
                branch.extend(inner[0])
        elif token["quantifier"]:
            if not branch:
                raise UnsupportedPattern(f"{text[0]!r} repeats nothing")
            branch.append(_repeat(branch.pop(), text))
        elif token["class"] is not None:
            if token.end("class") == token.end():
                raise UnsupportedPattern("a class is not closed")
            branch.append(_parse_class(token["class"]))
        else:
            branch.append(_ATOMS.get(text) or CharClass((_parse_character(text),)))
    match branches:
        case [[Group(inner)]]:
            return inner
    return tuple(map(tuple, branches))


def _repeat(part: Node, quantifier: str) -> Repeat:
    match part:
        case Group([[CharClass() | Lookahead() | str() as single]]):
            part = single
    if isinstance(part, Repeat):
        raise UnsupportedPattern("a quantifier follows a quantifier")
    if isinstance(part, (Lookahead, str)):
        raise UnsupportedPattern("it repeats what matches no character")
    if quantifier[0] in _BOUNDS:
        return Repeat(part, *_BOUNDS[quantifier[0]])
    bounds = quantifier.strip("{}?").split(",")
    if not bounds[0]:
        raise UnsupportedPattern("a quantifier has no least number")
    least, most = int(bounds[0]), int(bounds[-1]) if bounds[-1] else None
    if most is not None and most < least:
        raise UnsupportedPattern("a quantifier has its numbers out of order")
    return Repeat(part, least, most)


def _parse_class(text: str) -> CharClass:
    """Parse what is inside of the brackets."""
    items: dict[tuple[int, int] | str, None] = {}
    for first, last in _CLASS_ITEM.findall(text.removeprefix("^")):
        item = _parse_character(first)
        if last:
            end = _parse_character(last)
            if isinstance(item, str) or isinstance(end, str) or item > end:
                raise UnsupportedPattern("a class has a range that is none")
            item = (item[0], end[0])
        items[item] = None
    if not items:
        raise UnsupportedPattern("a class is empty; write a ']' in a class as '\\]'")
    return CharClass(tuple(items), text.startswith("^"))


def _parse_character(text: str) -> tuple[int, int] | str:
    """A character as a range, or a shorthand."""
    sign, code_text = text[1:2], text[2:]
    if not sign:
        code = ord(text)
    elif sign in "dDwWsS" or sign in "pP" and code_text:
        return text[1:]
    elif sign in "ux" and code_text:
        code = int(code_text.strip("{}"), 16)
    elif sign == "c" and code_text:
        code = ord(code_text.upper()) - 64
    elif text[1:] in _CODES:
        code = _CODES[text[1:]]
    elif sign.isdecimal():
        raise UnsupportedPattern("it refers back to a group")
    elif sign.isascii() and sign.isalnum():
        raise UnsupportedPattern(f"{text!r} names no character")
    else:
        code = ord(sign)
    if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
        raise UnsupportedPattern("it names half a character")
    return code, code
