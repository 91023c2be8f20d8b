"""Sets of characters as ranges of code points, and as Rust's ``regex`` writes them."""

from __future__ import annotations

#: Code points from, to; in order, and apart from each other.
Ranges = tuple[tuple[int, int], ...]

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


def _escape(code: int) -> str:
    character = chr(code)
    if character.isalnum() and code < 0x3400 or 0xAC00 <= code <= 0xD7A3:
        return character
    return f"\\{character}" if character in r"\^$.|?*+()[]{}-&~#/" else f"\\u{{{code:x}}}"
