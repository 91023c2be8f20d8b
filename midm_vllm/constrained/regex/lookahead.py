"""Patterns that look ahead, said without it.

``A(?=B)C`` is: A, and then what both begins as B and is C to the end. With what follows in hand
an intersection of languages says that, and ``(?!B)`` a complement; both are regular, so a plain
expression says them too (``languages`` finds it). Looking back is not done, nor looking ahead
inside what is repeated without end.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from midm_vllm.constrained.regex.derivatives import (
    EVERY,
    Languages,
    Ranges,
    TooLarge,
    complement,
    union,
)

#: What following a language may take, in steps of some microseconds.
MOST_STEPS = 4000
#: What making sense of one takes beside, in the same steps.
_STEPS_OF_A_PATTERN = 40
_LONGEST = 1000
_token = re.compile(
    r"\\u\{[0-9A-Fa-f]+\}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[pP]\{[^}]*\}|\\c[A-Za-z]"
    r"|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?<?[=!]|\(\?P?<\w+>|\(\?:|\(|.",
    re.DOTALL,
)
_count = re.compile(r"[*+?]|\{(\d{1,4})(,(\d{1,4})?)?\}")
_MOST_EXPANDED = 3
_UTF_32 = "utf-32-le" if sys.byteorder == "little" else "utf-32-be"


class CannotLook(ValueError):
    """A pattern that looks around in a way that is not said otherwise; the message says why."""


@dataclass(frozen=True)
class _Set:
    """A set of characters: those that every dialect has for its, and those that any has."""

    certain: Ranges
    possible: Ranges
    #: The certain ones as Rust's dialect writes them.
    written: str = ""
    #: The same, where the characters are not known one by one.
    opaque: str = ""


@dataclass(frozen=True)
class _Row:
    parts: tuple["_Part", ...] = ()


@dataclass(frozen=True)
class _Choice:
    ways: tuple["_Part", ...]


@dataclass(frozen=True)
class _Times:
    part: "_Part"
    least: int
    most: int | None


@dataclass(frozen=True)
class _Ahead:
    part: "_Part"
    denied: bool


@dataclass(frozen=True)
class _Edge:
    #: ``^`` or ``$``.
    sign: str


_Part = _Set | _Row | _Choice | _Times | _Ahead | _Edge


def without_looking(
    pattern: str, translated: Callable[[str], str]
) -> tuple[list[str], int]:
    """Patterns that all have to match in place of one that looks ahead, and the steps it took.

    ``translated`` writes a character, an escape or a class in Rust's dialect. Raises CannotLook.
    """
    if len(pattern) > _LONGEST:
        raise CannotLook(f"it looks ahead in more than {_LONGEST} characters")
    read = _Reading(pattern, translated).read
    parts = read.parts if isinstance(read, _Row) else (read,)
    conditions: list[_Part] = []
    if parts and parts[0] == _Edge("^"):
        ahead = 1
        while ahead < len(parts) and isinstance(parts[ahead], _Ahead):
            conditions.append(_Row((_Edge("^"), parts[ahead])))
            ahead += 1
        read = _Row((_Edge("^"), *parts[ahead:]))
    patterns, steps = [], 0
    for each in (*conditions, read):
        written = _Said(each)
        patterns.append(written.pattern)
        steps += written.steps + _STEPS_OF_A_PATTERN
    return patterns, steps


class _Said:
    """A pattern without looking: an expression of whole texts."""

    def __init__(self, read: _Part) -> None:
        self._languages = said = Languages(dict(_sets(read)), MOST_STEPS)
        try:
            whole = self._language(read, said.anything, True, True)
            if not _begins_at_the_start(read):
                one = said.characters(EVERY)
                later = self._language(read, said.anything, True, False)
                whole = said.either([whole, said.then(one, said.then(said.anything, later))])
            expression = said.expression(whole)
        except (TooLarge, RecursionError):
            raise CannotLook("it looks ahead over more than can be followed") from None
        if expression is None:
            raise CannotLook("it looks ahead, and nothing can match it")
        self.pattern = f"^(?:{expression})$"
        self.steps = said.steps

    def _language(self, read: _Part, rest: int, certain: bool, at_start: bool | None) -> int:
        """The texts that match ``read`` and then the rest.

        ``certain`` are those that match in every dialect, else those that match in any.
        """
        said = self._languages
        if isinstance(read, _Edge):
            if read.sign == "$":
                ends = [said.empty] if certain else [said.empty, said.characters(_NEWLINE)]
                return said.both([rest, said.either(ends)])
            if at_start is None:
                raise CannotLook("it asks for its beginning behind what may be empty")
            return rest if at_start else said.none
        if isinstance(read, _Ahead):
            ahead = self._language(
                read.part, said.anything, certain != read.denied, at_start
            )
            return said.both([rest, said.but(ahead) if read.denied else ahead])
        if isinstance(read, _Choice):
            return said.either([
                self._language(way, rest, certain, at_start) for way in read.ways
            ])
        if isinstance(read, _Row):
            starts = []
            for part in read.parts:
                starts.append(at_start)
                width = _least(part)
                if width:
                    at_start = False
                elif at_start and not isinstance(part, (_Edge, _Ahead)):
                    at_start = None
            for part, start in zip(reversed(read.parts), reversed(starts)):
                rest = self._language(part, rest, certain, start)
            return rest
        if isinstance(read, _Times) and not _is_plain(read):
            if read.most is None or read.most > _MOST_EXPANDED:
                raise CannotLook("it looks ahead inside what is repeated")
            start = at_start if read.most == 1 else None if at_start is not False else False
            result = rest
            for number in range(read.most):
                more = self._language(read.part, result, certain, start)
                result = more if read.most - number <= read.least else said.either([rest, more])
            return result
        return said.then(self._plain(read, certain), rest)

    def _plain(self, read: _Part, certain: bool) -> int:
        """The language of what neither looks nor asks for an edge."""
        said = self._languages
        if isinstance(read, _Set):
            if read.opaque:
                return said.opaque(read.opaque)
            return said.characters(read.certain if certain else read.possible)
        if isinstance(read, _Times):
            return said.times(self._plain(read.part, certain), read.least, read.most)
        return self._language(read, said.empty, certain, False)


def _sets(read: _Part) -> Iterator[tuple[Ranges, str]]:
    yield from ((EVERY, ""), (_NEWLINE, ""))
    if isinstance(read, _Set) and not read.opaque:
        yield from ((read.possible, ""), (read.certain, read.written))
    parts: tuple[_Part, ...] = ()
    if isinstance(read, (_Times, _Ahead)):
        parts = (read.part,)
    elif isinstance(read, (_Row, _Choice)):
        parts = read.parts if isinstance(read, _Row) else read.ways
    for part in parts:
        yield from _sets(part)


def _is_plain(read: _Part) -> bool:
    if isinstance(read, _Row):
        return all(map(_is_plain, read.parts))
    if isinstance(read, _Choice):
        return all(map(_is_plain, read.ways))
    return _is_plain(read.part) if isinstance(read, _Times) else isinstance(read, _Set)


def _least(read: _Part) -> int:
    """How many characters it takes at least."""
    if isinstance(read, _Set):
        return 1
    if isinstance(read, _Row):
        return sum(map(_least, read.parts))
    if isinstance(read, _Choice):
        return min(map(_least, read.ways))
    return read.least * _least(read.part) if isinstance(read, _Times) else 0


def _begins_at_the_start(read: _Part) -> bool:
    if isinstance(read, _Choice):
        return all(map(_begins_at_the_start, read.ways))
    if isinstance(read, _Row):
        return bool(read.parts) and _begins_at_the_start(read.parts[0])
    return read == _Edge("^")


class _Reading:
    def __init__(self, pattern: str, translated: Callable[[str], str]) -> None:
        self._translated = translated
        self._pattern = pattern
        self._at = 0
        self.read = self._choice(0)
        if self._at < len(pattern):
            raise CannotLook("a group is closed that was not opened")

    def _choice(self, depth: int) -> _Part:
        if depth > 50:
            raise CannotLook("its groups nest too deep")
        ways = [self._row(depth)]
        while self._pattern.startswith("|", self._at):
            self._at += 1
            ways.append(self._row(depth))
        return ways[0] if len(ways) == 1 else _Choice(tuple(ways))

    def _row(self, depth: int) -> _Part:
        parts: list[_Part] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            part = self._one(depth)
            counted = _count.match(self._pattern, self._at)
            if counted:
                self._at = counted.end()
                if self._pattern.startswith("?", self._at):  # As few as possible: the same texts.
                    self._at += 1
                least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(counted[0]) or (
                    int(counted[1]), int(counted[3]) if counted[3] else
                    None if counted[2] else int(counted[1])
                )
                part = _Times(part, least, most)
            parts.append(part)
        return parts[0] if len(parts) == 1 else _Row(tuple(parts))

    def _one(self, depth: int) -> _Part:
        found = _token.match(self._pattern, self._at)
        assert found is not None
        token = found[0]
        self._at = found.end()
        if token in ("^", "$", r"\A", r"\Z", r"\z"):
            return _Edge("^" if token in ("^", r"\A") else "$")
        if token in ("(?<=", "(?<!"):
            raise CannotLook("it looks back")
        if token.startswith("("):
            if token == "(" and self._pattern.startswith("?", self._at):
                raise CannotLook("a group in it has flags")
            inside = self._choice(depth + 1)
            if not self._pattern.startswith(")", self._at):
                raise CannotLook("a group is not closed")
            self._at += 1
            return _Ahead(inside, token == "(?!") if token in ("(?=", "(?!") else inside
        if token in ("*", "+", "?", "{", "["):
            raise CannotLook(f"{token!r} stands where it means nothing")
        return _set(token, self._translated)


@lru_cache(maxsize=500)
def _set(token: str, translated: Callable[[str], str]) -> _Set:
    """A character, an escape or a class."""
    written = translated(token)  # Says what is no character at all.
    if not token.startswith("["):
        return _shorthand(token, written)
    negated = token.startswith("[^")
    inside = token[2 if negated else 1:-1]
    parts: list[_Set] = []
    position, low = 0, ""
    while position < len(inside):
        found = _token.match(inside, position)
        assert found is not None
        each = found[0]
        position = found.end()
        if each.startswith("[") or each.startswith("("):
            each, position = each[0], position - len(each) + 1
        if low:
            first, last = _code(low), _code(each)
            if first is None or last is None or first > last:
                raise CannotLook("a class has a range that is none")
            parts.append(_known(((first, last),)))
            low = ""
        elif inside.startswith("-", position) and position + 1 < len(inside):
            low, position = each, position + 1
        else:
            code = _code(each)
            parts.append(_known(((code, code),)) if code is not None else _shorthand(each, each))
    if any(part.opaque for part in parts):
        return _Set((), (), opaque=written)
    certain = union(*(part.certain for part in parts))
    possible = union(*(part.possible for part in parts))
    if negated:
        return _Set(complement(possible), complement(certain), written)
    return _Set(certain, possible, written)


def _known(ranges: Ranges) -> _Set:
    return _Set(ranges, ranges)


def _code(token: str) -> int | None:
    """The character that a token is; None for a set of them."""
    if token[0] != "\\":
        return ord(token)
    kind = token[1]
    if kind in "ux" and len(token) > 2:
        return int(token[2:].strip("{}"), 16)
    if kind in "tnrfv0b":
        return ord({"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0",
                    "b": "\b"}[kind])
    if kind == "c" and len(token) == 3:
        return ord(token[2].upper()) - 64
    return None if kind.isalnum() else ord(kind)


def _shorthand(token: str, written: str) -> _Set:
    if token == ".":
        return _Set(complement(_LINE_ENDS), complement(_NEWLINE), written)
    if len(token) == 2 and token[1] in "dwsDWS":
        certain, possible = _class(token[1].lower())
        if token[1].isupper():
            certain, possible = complement(possible), complement(certain)
        return _Set(certain, possible, written)
    code = _code(token) if token != r"\b" else None
    if code is not None:
        return _known(((code, code),))
    if token[:2] in (r"\p", r"\P"):
        return _Set((), (), opaque=written)
    raise CannotLook(f"{token!r} is not known beside looking ahead")


_NEWLINE: Ranges = ((10, 10),)
#: ECMA-262 has '.' match none of these, Python and Rust only the first.
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_SPACES: Ranges = ((9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
                   (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000))
_DOUBTFUL: Ranges = ((0x1C, 0x1F), (0x85, 0x85), (0xFEFF, 0xFEFF))
_DIGITS: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))


@lru_cache(maxsize=3)
def _class(kind: str) -> tuple[Ranges, Ranges]:
    """What is a digit, a letter of a word or a space: to all, and to any."""
    if kind == "s":
        return _SPACES, union(_SPACES, _DOUBTFUL)
    # Python has those of all scripts, none of them beyond.
    own, known = (_DIGITS, r"\d+") if kind == "d" else (_WORD, r"\w+")
    text = array("I", range(0x32400)).tobytes().decode(_UTF_32, "surrogatepass")
    return own, tuple(
        (found.start(), found.end() - 1) for found in re.finditer(known, text)
    )
