"""Patterns in the dialect that llguidance reads, which is that of Rust's ``regex``.

A schema's author has ECMA-262 in mind, and clients often validate with Python, where ``\\w``,
``\\d`` and ``\\s`` match other characters. A string's pattern is written so that it matches what
both match. A member's name is matched by ECMA-262 alone, since what it does not match is allowed
elsewhere.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from midm_vllm.constrained import limits
from midm_vllm.constrained.regex.char_sets import (
    MISREAD_CONTROLS,
    SETS,
    UNICODE_ADDITIONS,
    write_ranges,
)
from midm_vllm.constrained.regex.parser import (
    Alternation,
    Anchor,
    CharClass,
    Concat,
    Lookahead,
    Node,
    Repeat,
    UnsupportedPattern,
    parse,
    walk,
)

_ANY_TEXT = "(?s:.*)"
_START = Anchor("^")
_ANYTHING = Repeat(CharClass((".",)), 0, None)
_LOOKS_TOO_FAR = "what must not be ahead is more than some characters in a row"
_MAX_ROW = 20
#: Patterns that look ahead in the middle, as zod has one of durations, and what they match.
_WITHOUT_LOOKAHEADS = {
    r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?"
    r"(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$":
    r"^P(?:\d+W|{date}(?:{time})?|{time})$".format(
        date=r"(?:\d+Y(?:\d+M)?(?:\d+D)?|\d+M(?:\d+D)?|\d+D)",
        time=r"T(?:\d+H(?:\d+M)?(?:{0})?|\d+M(?:{0})?|{0})".format(r"\d+(?:[.,]\d+)?S"),
    ),
}
#: Shorthands without control characters, or with all others.
_WITHOUT_CONTROLS = ("d", "w", "s", ".")


@dataclass(frozen=True)
class RustPatterns:
    """A pattern as some that all have to match.

    ``characters`` are those that the pattern names one by one.
    """

    patterns: tuple[str, ...]
    characters: frozenset[str]


@functools.lru_cache(maxsize=2000)
def rust_patterns(pattern: str, exact: bool = False) -> RustPatterns:
    """Translate a pattern.

    Args:
        pattern: As a schema has it.
        exact: Whether to match what ECMA-262 does, and not only what Python matches too.

    Raises:
        UnsupportedPattern: It cannot be translated.
    """
    if len(pattern) > limits.MAX_PATTERN_LENGTH:
        raise UnsupportedPattern(f"it has more than {limits.MAX_PATTERN_LENGTH} characters")
    node = _without_optional_end(parse(_WITHOUT_LOOKAHEADS.get(pattern, pattern)))
    singles = (_single(each) for each in walk(node) if isinstance(each, CharClass))
    characters = frozenset(chr(each) for each in singles if each is not None)
    conditions: list[str] = []
    if isinstance(node, Concat) and node.parts[:1] == (_START,):
        ahead = list(itertools.takewhile(lambda part: isinstance(part, Lookahead), node.parts[1:]))
        conditions = [each for part in ahead for each in _write_conditions(part, exact)]
        node = Concat((_START, *node.parts[1 + len(ahead):]))
    return RustPatterns((*conditions, _write(node, exact)), characters)


def _without_optional_end(node: Node) -> Node:
    """Without what follows the last necessary part: an open end matches whatever follows.

    Pydantic's decimals with a number of digits look ahead there.
    """
    parts = list(node.parts) if isinstance(node, Concat) else [node]
    while len(parts) > 1 and _is_optional(parts[-1]):
        parts.pop()
    return Concat(tuple(parts)) if isinstance(node, Concat) else node


def _is_optional(node: Node) -> bool:
    """Whether a part matches the empty text, wherever it stands."""
    if isinstance(node, Alternation):
        return any(map(_is_optional, node.ways))
    if isinstance(node, Concat):
        return all(map(_is_optional, node.parts))
    return isinstance(node, Repeat) and (node.least == 0 or _is_optional(node.part))


def _write_conditions(lookahead: Node, exact: bool) -> list[str]:
    """A look-ahead at the beginning as patterns of its own, all of which have to match."""
    assert isinstance(lookahead, Lookahead)
    if not lookahead.is_negative:
        return [f"^(?:{_write(lookahead.part, exact)})"]
    part = lookahead.part
    ways = part.ways if isinstance(part, Alternation) else (part,)
    return [_write_exclusion(way, exact) for way in ways]


def _write_exclusion(node: Node, exact: bool) -> str:
    """A pattern for no text that begins with what a node matches: some characters in a row."""
    parts = [*node.parts] if isinstance(node, Concat) else [node]
    parts = parts[1:] if parts[:1] == [_START] else parts
    is_whole = parts[-1:] == [Anchor("$")]
    parts = parts[:-1] if is_whole else parts
    is_anywhere = parts[:1] == [_ANYTHING]
    parts = parts[1:] if is_anywhere else parts
    first = parts[0] if len(parts) == 1 else None
    if is_whole and isinstance(first, Repeat) and first.most is None and first.least < 2 and (
        isinstance(first.part, CharClass) and not is_anywhere
    ):
        other = _write_class(_negated(first.part), exact)
        return f"^$|{other}" if first.least else other
    row = [each for part in parts for each in _row(part)]
    others = [_write_class(_negated(each), exact) for each in row]
    same = [_write_class(each, exact) for each in row]
    if is_anywhere:
        if len(row) == 1:
            return f"^(?:{_ANY_TEXT}{others[0]})?$" if is_whole else f"^{others[0]}*$"
        if len(row) == 2 and row[0] == row[1] and not is_whole:
            return f"^(?:{same[0]}?{others[0]})*{same[0]}?$"
        raise UnsupportedPattern(_LOOKS_TOO_FAR)
    written = "(?s:.+)" if is_whole else "[a&&b]"  # Nothing.
    for character, other in zip(reversed(same), reversed(others)):
        written = f"(?:{other}{_ANY_TEXT}|{character}{written})?"
    return f"^{written}$"


def _negated(node: CharClass) -> CharClass:
    return CharClass(node.items, not node.is_negated)


def _row(node: Node) -> list[CharClass]:
    """The characters that a node matches in a row, each of a class."""
    if isinstance(node, CharClass):
        return [node]
    if isinstance(node, Repeat) and isinstance(node.part, CharClass) and (
        node.least == node.most and node.least < _MAX_ROW
    ):
        return [node.part] * node.least
    raise UnsupportedPattern(_LOOKS_TOO_FAR)


def _write(node: Node, exact: bool) -> str:
    if isinstance(node, CharClass):
        return _write_class(node, exact)
    if isinstance(node, Anchor):
        return node.sign
    if isinstance(node, Concat):
        return "".join(
            f"(?:{_write(part, exact)})" if isinstance(part, Alternation) else _write(part, exact)
            for part in node.parts
        )
    if isinstance(node, Alternation):
        return "|".join(_write(way, exact) for way in node.ways)
    if isinstance(node, Repeat):
        part = _write(node.part, exact)
        part = part if isinstance(node.part, CharClass) else f"(?:{part})"
        return part + quantifier(node.least, node.most)
    raise UnsupportedPattern("it looks ahead in the middle")


def quantifier(least: int, most: int | None) -> str:
    """The suffix of what is repeated."""
    if (least, most) in ((0, None), (1, None), (0, 1)):
        return {(0, None): "*", (1, None): "+", (0, 1): "?"}[least, most]
    return f"{{{least},{'' if most is None else most}}}"


def _write_class(node: CharClass, exact: bool) -> str:
    single = _single(node)
    if single is not None:
        return write_ranges(((single, single),))
    shorthands = {item for item in node.items if isinstance(item, str)}
    has_both = any(item in "dws" and item.upper() in shorthands for item in shorthands)
    if not node.items or (has_both and not node.is_negated):
        return "(?s:.)"
    text = "".join(_write_item(item, node.is_negated, exact) for item in node.items)
    written = f"[{'^' if node.is_negated else ''}{text}]"
    # llguidance adds quotes and backslashes to a class with control characters that lacks them.
    has_controls = node.is_negated or any(
        item not in _WITHOUT_CONTROLS if isinstance(item, str) else item[0] < 0x20
        for item in node.items
    )
    return f"[{written}&&{MISREAD_CONTROLS}]" if has_controls else written


def _write_item(item: tuple[int, int] | str, widen: bool, exact: bool) -> str:
    """An item inside of a class's brackets; widened, it has what Python's has, too."""
    if isinstance(item, tuple):
        return write_ranges((item,), in_class=True)
    if item[0] in "pP":
        return "\\" + item
    if item == ".":
        return f"[^{write_ranges(SETS['.'], in_class=True)}]"
    name = item.lower()
    # A capital excludes: it is the wider, the fewer it excludes.
    is_upper_bound = widen == (item == name)
    text = write_ranges(SETS[name], in_class=True)
    if not exact:
        text = text + UNICODE_ADDITIONS[name] if is_upper_bound else text.removesuffix(r"\u{feff}")
    return text if item == name else f"[^{text}]"


def _single(node: CharClass) -> int | None:
    """The one character of a class, or None."""
    codes = {code for item in node.items if isinstance(item, tuple) for code in item}
    if node.is_negated or len(codes) != 1 or any(isinstance(item, str) for item in node.items):
        return None
    return codes.pop()


def all_but(names: Iterable[str]) -> str:
    """A pattern for every text but these names.

    Of a name longer than ``limits.MAX_NAME_LENGTH``, all that begin as it does are excluded.
    """
    tree: dict[str, dict[str, object]] = {}
    for name in sorted(names):
        node: dict[str, object] = tree  # type: ignore[assignment]
        for character in name[:limits.MAX_NAME_LENGTH]:
            node = node.setdefault(character, {})  # type: ignore[assignment]
        node["long" if len(name) > limits.MAX_NAME_LENGTH else "end"] = {}
    return f"^{_all_but_branch(tree)}$"  # type: ignore[arg-type]


def _all_but_branch(node: dict[str, object]) -> str:
    if "long" in node:
        return r"[a&&b]"  # Nothing.
    characters = [character for character in node if character != "end"]
    if not characters:
        return "(?s:.+)"
    excluded = CharClass(tuple((ord(each), ord(each)) for each in characters), is_negated=True)
    ways = [f"{_write_class(excluded, exact=True)}{_ANY_TEXT}"] + [
        write_ranges(((ord(each), ord(each)),)) + _all_but_branch(node[each])  # type: ignore
        for each in characters
    ]
    return f"(?:{'|'.join(ways)}){'' if 'end' in node else '?'}"
