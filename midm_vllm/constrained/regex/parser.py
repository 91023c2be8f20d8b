"""Patterns of JSON schemas, parsed as ECMA-262 defines them.

What ECMA-262 does not define, or engines disagree about, is rejected with a reason. Two spellings
of Python are read: ``(?P<name>…)``, and ``\\A`` and ``\\Z`` as anchors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from midm_vllm.constrained.limits import MAX_GROUP_DEPTH

#: A character or an escape, outside of a class or in one.
_ATOM = re.compile(
    r"\\u\{[0-9A-Fa-f]{1,6}\}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[pP]\{[\w=]+\}|\\c[A-Za-z]"
    r"|\\.|.", re.DOTALL,
)
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d{1,5})(,(\d{1,5})?)?\})(\??)")
_GROUP = re.compile(r"\((?:\?[:=!]|\?P?<[A-Za-z_]\w*>)?")
_LETTERS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}


class UnsupportedPattern(ValueError):
    """A pattern that cannot be enforced; the message says why."""


@dataclass(frozen=True)
class CharClass:
    """A set of characters.

    ``items`` are code points from, to, and shorthands: ``d``, ``w``, ``s`` and their capitals,
    ``.``, and ``p{…}``.
    """

    items: tuple[tuple[int, int] | str, ...]
    is_negated: bool = False


@dataclass(frozen=True)
class Anchor:
    sign: str


@dataclass(frozen=True)
class Concat:
    parts: tuple["Node", ...] = ()


@dataclass(frozen=True)
class Alternation:
    ways: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    part: "Node"
    least: int
    most: int | None


@dataclass(frozen=True)
class Lookahead:
    part: "Node"
    is_negative: bool


Node = CharClass | Anchor | Concat | Alternation | Repeat | Lookahead


def walk(node: Node) -> Iterator[Node]:
    """A node and all in it."""
    yield node
    if isinstance(node, (Repeat, Lookahead)):
        yield from walk(node.part)
    elif isinstance(node, (Concat, Alternation)):
        for part in node.parts if isinstance(node, Concat) else node.ways:
            yield from walk(part)


def parse(pattern: str) -> Node:
    """Parse a pattern. Raises UnsupportedPattern."""
    return _Parser(pattern).parse()


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def parse(self) -> Node:
        node = self._alternation(0)
        if self._at < len(self._pattern):
            raise UnsupportedPattern("a group is closed that was not opened")
        return node

    def _is_at(self, text: str) -> bool:
        return self._pattern.startswith(text, self._at)

    def _alternation(self, depth: int) -> Node:
        if depth > MAX_GROUP_DEPTH:
            raise UnsupportedPattern("its groups nest too deep")
        ways = [self._concat(depth)]
        while self._is_at("|"):
            self._at += 1
            ways.append(self._concat(depth))
        return ways[0] if len(ways) == 1 else Alternation(tuple(ways))

    def _concat(self, depth: int) -> Node:
        parts: list[Node] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            parts.append(self._quantified(self._one(depth)))
        return parts[0] if len(parts) == 1 else Concat(tuple(parts))

    def _quantified(self, part: Node) -> Node:
        found = _QUANTIFIER.match(self._pattern, self._at)
        if found is None:
            return part
        if isinstance(part, (Anchor, Lookahead)):
            raise UnsupportedPattern("it repeats what matches no character")
        self._at = found.end()
        if _QUANTIFIER.match(self._pattern, self._at):
            raise UnsupportedPattern("a quantifier follows a quantifier")
        if found[0][0] in "*+?":
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[found[0][0]]
            return Repeat(part, least, most)
        least = int(found[1])
        if found[2] is None:
            return Repeat(part, least, least)
        if found[3] is not None and int(found[3]) < least:
            raise UnsupportedPattern("a quantifier has its numbers out of order")
        return Repeat(part, least, int(found[3]) if found[3] else None)

    def _one(self, depth: int) -> Node:
        character = self._pattern[self._at]
        if character == "(":
            return self._group(depth)
        if character == "[":
            return self._class()
        if character in "*+?" or _QUANTIFIER.match(self._pattern, self._at):
            raise UnsupportedPattern(f"{character!r} repeats nothing")
        found = _ATOM.match(self._pattern, self._at)
        assert found is not None
        self._at = found.end()
        atom = found[0]
        if atom in ("^", "$", r"\A", r"\Z", r"\z"):
            return Anchor("^" if atom in ("^", r"\A") else "$")
        if atom == ".":
            return CharClass((".",))
        if atom in (r"\b", r"\B"):
            raise UnsupportedPattern("it asks for the edge of a word")
        return CharClass((self._item(atom),))

    def _group(self, depth: int) -> Node:
        if self._is_at("(?<=") or self._is_at("(?<!"):
            raise UnsupportedPattern("it looks back")
        found = _GROUP.match(self._pattern, self._at)
        assert found is not None
        self._at = found.end()
        if found[0] == "(" and self._is_at("?"):
            raise UnsupportedPattern("a group in it is not known to ECMA-262")
        part = self._alternation(depth + 1)
        if not self._is_at(")"):
            raise UnsupportedPattern("a group is not closed")
        self._at += 1
        is_lookahead = found[0] in ("(?=", "(?!")
        return Lookahead(part, found[0] == "(?!") if is_lookahead else part

    def _class(self) -> Node:
        is_negated = self._is_at("[^")
        self._at += 2 if is_negated else 1
        if self._is_at("]"):
            raise UnsupportedPattern("a class is empty; write a ']' in a class as '\\]'")
        items: list[tuple[int, int] | str] = []
        while not self._is_at("]"):
            item = self._class_item()
            if self._is_at("-") and not self._is_at("-]"):
                self._at += 1
                last = self._class_item()
                if isinstance(item, str) or isinstance(last, str) or item[0] > last[0]:
                    raise UnsupportedPattern("a class has a range that is none")
                item = (item[0], last[0])
            items.append(item)
        self._at += 1
        return CharClass(tuple(items), is_negated)

    def _class_item(self) -> tuple[int, int] | str:
        found = _ATOM.match(self._pattern, self._at)
        if found is None:
            raise UnsupportedPattern("a class is not closed")
        self._at = found.end()
        return (8, 8) if found[0] == r"\b" else self._item(found[0])

    def _item(self, atom: str) -> tuple[int, int] | str:
        """A character as a range, or a shorthand."""
        if len(atom) == 1:
            if atom == "\\":
                raise UnsupportedPattern("it ends with a backslash")
            code = ord(atom)
        elif atom[1] in "pP" and len(atom) > 2 or atom[1] in "dDwWsS":
            return atom[1:]
        elif atom[1] in "ux" and len(atom) > 2:
            code = int(atom[2:].strip("{}"), 16)
        elif atom[1] == "c" and len(atom) == 3:
            code = ord(atom[2].upper()) - 64
        elif atom == r"\0" and not self._pattern[self._at:self._at + 1].isdigit():
            code = 0
        elif atom[1] in _LETTERS:
            code = _LETTERS[atom[1]]
        elif atom[1].isascii() and atom[1].isalnum():
            refers = atom[1].isdigit() or atom[1] == "k"
            raise UnsupportedPattern(
                "it refers back to a group" if refers else f"{atom!r} names no character"
            )
        else:
            code = ord(atom[1])
        if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
            raise UnsupportedPattern("it names half a character")
        return code, code
