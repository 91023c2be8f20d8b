"""Patterns in the dialect that llguidance reads, which is that of Rust's ``regex``.

A schema's author has ECMA-262 in mind, and clients often validate with Python, where ``\\w``,
``\\d`` and ``\\s`` match other characters. A string's pattern is written so that it matches what
both match. A member's name is matched by ECMA-262 alone, since what it does not match is allowed
elsewhere.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from midm_vllm.constrained import limits
from midm_vllm.constrained.regex.char_sets import (
    MISREAD_CONTROLS,
    Ranges,
    SETS,
    UNICODE_ADDITIONS,
    write_ranges,
)
from midm_vllm.constrained.regex.lookahead import (
    ANY_TEXT,
    asks_for_the_rest,
    looks_ahead,
    plain_pattern,
    to_the_end,
    whole_text,
    without_start,
)
from midm_vllm.constrained.regex.parser import (
    Alternation,
    Anchor,
    CharClass,
    Concat,
    Flags,
    Lookahead,
    Node,
    Repeat,
    UnsupportedPattern,
    parse,
    walk,
)

_ANY_TEXT = "(?s:.*)"


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
    node = parse(pattern)
    singles = (_single(each) for each in walk(node) if isinstance(each, CharClass))
    characters = frozenset(chr(each) for each in singles if each is not None)
    if not looks_ahead(node):
        return RustPatterns((_write(node, exact),), characters)
    if len(pattern) > limits.MAX_LOOKAHEAD_LENGTH:
        raise UnsupportedPattern("it looks ahead and is too long")
    parts = node.parts if isinstance(node, Concat) else (node,)
    conditions: list[str] = []
    first = 1
    if parts[:1] == (Anchor("^"),):  # Look-aheads there are patterns of their own.
        while first < len(parts) and isinstance(parts[first], Lookahead):
            conditions.append(_condition(parts[first], exact))
            first += 1
        node = Concat((parts[0], *parts[first:]))
    rest = plain_pattern(whole_text(node)) if looks_ahead(node) else _write(node, exact)
    return RustPatterns((*conditions, rest), characters)


def _condition(lookahead: Node, exact: bool) -> str:
    """A look-ahead at the beginning, as a pattern of its own."""
    assert isinstance(lookahead, Lookahead)
    part = without_start(lookahead.part)
    text = to_the_end(part)
    if lookahead.is_negative or asks_for_the_rest(text):
        return plain_pattern(Concat((Lookahead(part, lookahead.is_negative), ANY_TEXT)))
    return f"^(?:{_write(text, exact)})$"


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
    if isinstance(node, Flags):
        return f"(?{node.flags}:{_write(node.part, exact)})"
    if isinstance(node, Repeat):
        part = _write(node.part, exact)
        part = part if isinstance(node.part, CharClass) else f"(?:{part})"
        return part + quantifier(node.least, node.most)
    raise UnsupportedPattern("it looks ahead")


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
    if len(node.items) == 1 and not node.is_negated and node.items[0] in ("W", "D", "S", "."):
        # Written as what it excludes.
        excluded = str(node.items[0]).lower()
        node = CharClass(_LINE_ENDS if excluded == "." else (excluded,), is_negated=True)
    text = "".join(_write_item(item, node.is_negated, exact) for item in node.items)
    written = f"[{'^' if node.is_negated else ''}{text}]"
    return f"[{written}&&{MISREAD_CONTROLS}]" if _is_misread(node) else written


_LINE_ENDS: tuple[tuple[int, int] | str, ...] = SETS["."]


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


def _is_misread(node: CharClass) -> bool:
    """Whether llguidance adds quotes and backslashes to a class that lacks them.

    It does (seen in 1.7.6) where the class has control characters without a JSON escape of their
    own.
    """
    has_control = _contains(node, 0x01) or _contains(node, 0x1F)
    return has_control and not (_contains(node, ord('"')) and _contains(node, ord("\\")))


def _contains(node: CharClass, code: int) -> bool:
    return node.is_negated != any(_item_contains(item, code) for item in node.items)


def _item_contains(item: tuple[int, int] | str, code: int) -> bool:
    if isinstance(item, tuple):
        return item[0] <= code <= item[1]
    if item[0] in "pP":
        return (item[0] == "P") != unicodedata.category(chr(code)).startswith(item[2:-1])
    ranges: Ranges = SETS[item.lower()]
    return item.islower() == any(low <= code <= high for low, high in ranges)


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
