"""Patterns in the dialect that llguidance reads, which is that of Rust's ``regex``.

A schema's author has ECMA-262 in mind, and clients often validate with Python, where ``\\w``,
``\\d`` and ``\\s`` match other characters. A string's pattern is written so that it matches what
both match. A member's name is matched by ECMA-262 alone, since what it does not match is allowed
elsewhere.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from midm_vllm.constrained import limits
from midm_vllm.constrained.json_grammar import accepts
from midm_vllm.constrained.regex.parser import (
    Branches,
    CharClass,
    Group,
    Lookahead,
    Node,
    Repeat,
    UnsupportedPattern,
    parse,
)

#: What ECMA-262's shorthands match; for ``.``, what it does not.
_SETS = {
    "d": "0-9",
    "w": "0-9A-Z_a-z",
    "s": r"\u{9}-\u{d}\u{20}\u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}"
         r"\u{3000}\u{feff}",
    ".": r"\u{a}\u{d}\u{2028}\u{2029}",
}
#: What Python's match beside.
_UNICODE_ADDITIONS = {"d": r"\p{Nd}", "w": r"\p{L}\p{N}\p{M}", "s": r"\x1c-\x1f\u{85}"}
#: Control characters that JSON writes as ``\u00XX`` alone. llguidance adds quotes and backslashes
#: to a class that has them but lacks those.
_MISREAD_CONTROLS = r"\x00-\x07\x0b\x0e-\x1f"
_SIGNS = {(0, None): "*", (1, None): "+", (0, 1): "?"}
_ANY_TEXT = "(?s:.*)"
_ANYTHING = Repeat(CharClass((".",)), 0, None)
_LOOKS_TOO_FAR = "what must not be ahead is more than some characters in a row"
_MAX_ROW = 100
#: Patterns that look ahead in the middle, as zod has one of durations, and what they match.
_WITHOUT_LOOKAHEADS = {
    r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?"
    r"(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$":
    r"^P(?:\d+W|{date}(?:{time})?|{time})$".format(
        date=r"(?:\d+Y(?:\d+M)?(?:\d+D)?|\d+M(?:\d+D)?|\d+D)",
        time=r"T(?:\d+H(?:\d+M)?(?:{0})?|\d+M(?:{0})?|{0})".format(r"\d+(?:[.,]\d+)?S"),
    ),
}


@dataclass(frozen=True)
class RustPatterns:
    """Patterns that all have to match, and the characters that are named one by one in them."""

    patterns: tuple[str, ...]
    characters: frozenset[str]


@functools.lru_cache(maxsize=2000)
def rust_patterns(pattern: str, exact: bool = False) -> RustPatterns:
    """Translate a pattern as a schema has it. Raises UnsupportedPattern.

    ``exact`` is for what ECMA-262 matches, rather than what Python matches too.
    """
    if len(pattern) > limits.MAX_PATTERN_LENGTH:
        raise UnsupportedPattern(f"it has more than {limits.MAX_PATTERN_LENGTH} characters")
    branches = parse(_WITHOUT_LOOKAHEADS.get(pattern, pattern))
    if exact and any(map(_is_misread, _characters(branches))):
        raise UnsupportedPattern("it names a control character")
    if len(branches) > 1:
        return RustPatterns((_write(branches, exact),), frozenset(_characters(branches)))
    parts = list(branches[0])
    # An open end matches whatever follows. Pydantic's decimals look ahead there.
    while len(parts) > 1 and _is_optional(parts[-1]):
        parts.pop()
    characters = frozenset(_characters((tuple(parts),)))
    conditions: list[str] = []
    for part in parts[1:] if parts[:1] == ["^"] else ():
        if not isinstance(part, Lookahead):
            break
        del parts[1]
        ahead = tuple(each[1:] if each[:1] == ("^",) else each for each in part.branches)
        if part.is_negative:
            conditions += (_write_exclusion(branch, exact) for branch in ahead)
        else:
            conditions.append(f"^(?:{_write(ahead, exact)})")
    return RustPatterns((*conditions, _write((tuple(parts),), exact)), characters)


def _characters(branches: Branches) -> Iterator[str]:
    for part in itertools.chain(*branches):
        match part.part if isinstance(part, Repeat) else part:
            case Group(inner) | Lookahead(inner):
                yield from _characters(inner)
            case CharClass([(low, high)], False) if low == high:
                yield chr(low)


def _is_misread(character: str) -> bool:
    return character < "\x20" and character not in "\b\t\n\f\r"


def _is_optional(node: Node) -> bool:
    """Whether a part matches the empty text, wherever it stands."""
    if isinstance(node, Group):
        return any(all(map(_is_optional, branch)) for branch in node.branches)
    return isinstance(node, Repeat) and (node.least == 0 or _is_optional(node.part))


def _write_exclusion(branch: tuple[Node, ...], exact: bool) -> str:
    """A pattern for no text that begins with what a branch matches: some characters in a row."""
    is_whole = branch[-1:] == ("$",)
    parts = branch[:-1] if is_whole else branch
    match parts:
        case [Repeat(CharClass() as each, least, None)] if is_whole and least < 2:
            return f"{'^$|' if least else ''}{_write_class(_negated(each), exact)}"
    is_anywhere = parts[:1] == (_ANYTHING,)
    row: list[CharClass] = []
    for part in parts[1:] if is_anywhere else parts:
        match part:
            case CharClass():
                row.append(part)
            case Repeat(CharClass() as each, least, most) if least == most and least <= _MAX_ROW:
                row += [each] * least
            case _:
                raise UnsupportedPattern(_LOOKS_TOO_FAR)
    if len(row) > _MAX_ROW or is_anywhere and len(set(row)) != 1:
        raise UnsupportedPattern(_LOOKS_TOO_FAR)
    if not is_anywhere:
        return f"^{_write_others([[*row, '$'] if is_whole else row], exact)}$"
    other = _write_class(_negated(row[0]), exact)
    fewer = f"{_write_class(row[0], exact)}{{0,{len(row) - 1}}}" if len(row) > 1 else ""
    return f"^(?:{_ANY_TEXT}{other})?{fewer}$" if is_whole else f"^(?:{fewer}{other})*{fewer}$"


def all_but(names: Iterable[str]) -> str:
    """A pattern for all texts but these names, and but what begins like a very long one."""
    rows: list[list[Node]] = []
    for name in sorted(names):
        row: list[Node] = [CharClass(((ord(each), ord(each)),)) for each in name]
        most = limits.MAX_NAME_LENGTH
        rows.append([*row, "$"] if len(name) <= most else row[:most])
    return f"^{_write_others(rows, exact=True)}$"


def _write_others(rows: Sequence[Sequence[Node]], exact: bool) -> str:
    """Write what begins with none of some rows of characters, which may end with ``$``."""
    if [] in rows:
        return "[a&&b]"  # Nothing.
    tails: dict[CharClass, list[Sequence[Node]]] = {}
    for first, *tail in rows:
        if isinstance(first, CharClass):
            tails.setdefault(first, []).append(tail)
    if not tails:
        return "(?s:.+)"
    branches = [_write_class(_negated(*tails), exact) + _ANY_TEXT]
    branches += (_write_class(first, exact) + _write_others(tails[first], exact) for first in tails)
    return f"(?:{'|'.join(branches)}){'' if ['$'] in rows else '?'}"


def _negated(*classes: CharClass) -> CharClass:
    items = tuple(item for each in classes for item in each.items)
    return CharClass(items, not classes[0].is_negated)


def _write(branches: Branches, exact: bool) -> str:
    return "|".join("".join(_write_part(part, exact) for part in each) for each in branches)


def _write_part(node: Node, exact: bool) -> str:
    match node:
        case CharClass():
            return _write_class(node, exact)
        case str():
            return node
        case Group(branches):
            return f"(?:{_write(branches, exact)})"
        case Repeat(part, least, most):
            sign = _SIGNS.get((least, most)) or f"{{{least},{'' if most is None else most}}}"
            return _write_part(part, exact) + sign
    raise UnsupportedPattern("it looks ahead in the middle")


def _write_class(node: CharClass, exact: bool) -> str:
    match node:
        case CharClass([(low, high)], False) if low == high:
            return _escape(low)
    if not node.is_negated and any({each, each.upper()}.issubset(node.items) for each in "dws"):
        return "(?s:.)"
    text = "".join(_write_item(item, node.is_negated, exact) for item in node.items)
    if node.is_negated:
        return f"[^{text}{_MISREAD_CONTROLS}]"
    has_controls = any(
        item not in "dws." if isinstance(item, str) else item[0] < 0x20 for item in node.items
    )
    return f"[{text}&&[^{_MISREAD_CONTROLS}]]" if has_controls else f"[{text}]"


def _write_item(item: tuple[int, int] | str, widen: bool, exact: bool) -> str:
    """An item inside of a class's brackets; widened, it has what Python's has, too."""
    if isinstance(item, tuple):
        low, high = map(_escape, item)
        return low if low == high else f"{low}-{high}"
    if item[0] in "pP":
        return "\\" + item
    name = item.lower()
    text = _SETS[name]
    if not exact and name in _UNICODE_ADDITIONS:
        # A capital excludes: it is the wider, the fewer it excludes.
        is_upper_bound = widen == (item == name)
        text = text + _UNICODE_ADDITIONS[name] if is_upper_bound else text.removesuffix(r"\u{feff}")
    return text if item.islower() else f"[^{text}]"


def _escape(code: int) -> str:
    character = chr(code)
    if character.isalnum() and code < 0x3400 or 0xAC00 <= code <= 0xD7A3:
        return character
    return f"\\{character}" if character in r"\^$.|?*+()[]{}-&~#/" else f"\\u{{{code:x}}}"


@functools.lru_cache(maxsize=5000)
def matches(pattern: str, text: str) -> bool:
    """Whether an ECMA-262 pattern matches somewhere in a text. Raises UnsupportedPattern."""
    if any(map(_is_misread, text)):
        raise UnsupportedPattern("a name has a control character in it")
    conditions = [{"pattern": each} for each in rust_patterns(pattern, exact=True).patterns]
    schema = json.dumps({"type": "string", "allOf": conditions})
    try:
        return accepts(schema, json.dumps(text, ensure_ascii=False))
    except ValueError as error:
        raise UnsupportedPattern(str(error)) from error
