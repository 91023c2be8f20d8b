"""Sets of characters as ranges of code points, and as Rust's ``regex`` writes them."""

from __future__ import annotations

#: Code points from, to; in order, and apart from each other.
Ranges = tuple[tuple[int, int], ...]

#: All that a JSON string holds: no halves of characters.
EVERY: Ranges = ((0, 0xD7FF), (0xE000, 0x10FFFF))
#: What ECMA-262's shorthands match; for ``.``, what it does not.
SETS: dict[str, Ranges] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
          (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
    ".": ((10, 10), (13, 13), (0x2028, 0x2029)),
}
#: What Python's match beside.
UNICODE_ADDITIONS = {"d": r"\p{Nd}", "w": r"\p{L}\p{N}\p{M}", "s": r"\x1c-\x1f\u{85}"}
#: Without the control characters that JSON writes as ``\u00XX`` alone.
MISREAD_CONTROLS = r"[^\x00-\x07\x0b\x0e-\x1f]"
_CONTROLS: Ranges = ((0, 7), (0x0B, 0x0B), (0x0E, 0x1F))


def union(*sets: Ranges) -> Ranges:
    """The characters that are in one of the sets."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(each for one in sets for each in one):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def complement(characters: Ranges) -> Ranges:
    """The characters that are not in the set."""
    result = []
    for first, last in EVERY:
        for low, high in characters:
            if low > last or high < first:
                continue
            if low > first:
                result.append((first, low - 1))
            first = high + 1
        if first <= last:
            result.append((first, last))
    return tuple(result)


def contains(characters: Ranges, code: int) -> bool:
    """Whether a character is in the set."""
    return any(low <= code <= high for low, high in characters)


def write_ranges(ranges: Ranges, in_class: bool = False) -> str:
    """Write a set; ``in_class`` what is inside of the brackets alone."""
    if in_class:
        return "".join(
            _escape(low) if low == high else f"{_escape(low)}-{_escape(high)}"
            for low, high in ranges
        )
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return _escape(ranges[0][0])
    return f"[{write_ranges(ranges, in_class=True)}]"


def write_set(ranges: Ranges) -> str:
    """Write a set as llguidance reads it right, as its complement where that is shorter."""
    if ranges == EVERY:
        return "(?s:.)"
    if not all(any(low <= ord(each) <= high for low, high in ranges) for each in '"\\'):
        ranges = complement(union(complement(ranges), _CONTROLS))
    if ranges and ranges[-1][1] == 0x10FFFF:
        return f"[^{write_ranges(complement(ranges), in_class=True)}]"
    return write_ranges(ranges) if ranges else "[a&&b]"


def _escape(code: int) -> str:
    character = chr(code)
    if character.isalnum() and code < 0x3400 or 0xAC00 <= code <= 0xD7A3:
        return character
    return f"\\{character}" if character in r"\^$.|?*+()[]{}-&~#/" else f"\\u{{{code:x}}}"
