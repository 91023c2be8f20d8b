"""A second reader of the markup, for comparison: offline, simple-minded, slow.

It shares no code with `midm_vllm.markup`: it sees the whole output at once, walks it character
by character, and goes back as often as it likes. And it keeps accounts: every character of the
output lands in exactly one :class:`Span` that says what became of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

OPENING, CLOSING = "<tool_call>", "</tool_call>"
TAGS = (OPENING, CLOSING)
WHITESPACE = " \t\n\r"
SHORT = dict(zip('"\\/bfnrt', '"\\/\b\f\n\r\t'))


class Kind(Enum):
    CONTENT = "given out, verbatim"
    OBJECT = "an object that is a call, its arguments included"
    TAG = "a tag of a block with calls, or a closing one that the end cut off"
    SEPARATORS = "whitespace, commas and closers between calls"
    WHITESPACE = "whitespace next to a block"


class End(Enum):
    """How an object ends."""

    CLOSED = "its bracket, or the array's"
    TAG = "a tag"
    NEXT = "the beginning of the next object"
    BROKEN = "something that JSON does not have here"
    OUTPUT = "the output's end"


@dataclass(frozen=True)
class Span:
    kind: Kind
    start: int
    end: int


@dataclass
class Object:
    """What was read of an object; a call if `committed`, complete if `ended`."""

    position: int
    name: str | None = None
    committed: bool = False
    arguments: str | None = None
    ended: bool = False
    arguments_end: int = 0
    end: End = End.BROKEN
    #: What is not as the model was taught, in the words of `midm_vllm.markup.events.Repair`.
    repairs: set[str] = field(default_factory=set)


@dataclass
class Reading:
    """`undecided` is where text begins that the output's end alone made content.

    `cut_off_texts` has an entry for all that began as a call and is text: whether that end did it.
    """

    text: str
    spans: list[Span] = field(default_factory=list)
    calls: list[Object] = field(default_factory=list)
    undecided: int = 0
    cut_off_texts: list[bool] = field(default_factory=list)

    @property
    def content(self) -> str:
        return "".join(
            self.text[span.start : span.end] for span in self.spans if span.kind is Kind.CONTENT
        )


def decode(string: str) -> str:
    """The text of a JSON string; an escape that stands for no character stays."""
    decoded, position = "", 0
    while position < len(string):
        code = _code_unit(string, position)
        low = _code_unit(string, position + 6)
        if code is not None and low is not None and _is_high(code) and 0xDC00 <= low < 0xE000:
            decoded += chr(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00)
            position += 12
        elif code is not None:
            decoded += string[position : position + 6] if 0xD800 <= code < 0xE000 else chr(code)
            position += 6
        elif string[position] == "\\" and position + 1 < len(string):
            escape = string[position : position + 2]
            decoded += SHORT.get(escape[1], escape)
            position += 2
        else:
            decoded += string[position]
            position += 1
    return decoded


def _is_high(code: int) -> bool:
    return 0xD800 <= code < 0xDC00


def _code_unit(string: str, position: int) -> int | None:
    match = re.fullmatch(r"\\u([0-9a-fA-F]{4})", string[position : position + 6])
    return int(match[1], 16) if match else None


def string_end(text: str, position: int) -> int | None:
    """Where the string ends whose quote is before `position`: its last quote's position."""
    while position < len(text):
        if text[position] == '"':
            return position
        position += 2 if text[position] == "\\" else 1
    return None


def skip(text: str, position: int, characters: str = WHITESPACE) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position


def cut_tag(text: str, position: int, *tags: str) -> bool:
    """Whether the output ends in the middle of a tag that begins at `position`."""
    rest = text[position:]
    return bool(rest) and any(tag != rest and tag.startswith(rest) for tag in tags)


def read_object(text: str, start: int) -> Object:
    """Read the object whose brace is at `start`, as far as it goes."""
    this = Object(start + 1)
    while this.end is End.BROKEN:
        if not _read_member(text, this) or not _read_separator(text, this):
            break
    return this


def _stop(this: Object, end: End, position: int) -> bool:
    this.end, this.position = end, position
    if end in (End.TAG, End.NEXT) or end is End.OUTPUT and this.ended:
        this.repairs.add("bracket_missing")
    if end in (End.CLOSED, End.TAG, End.NEXT) and not this.ended:
        this.committed = this.ended = True
        if not this.arguments:
            this.arguments = "{}"
            this.repairs.add("arguments_missing")
    return False


def _next(text: str, this: Object) -> str:
    this.position = skip(text, this.position)
    return text[this.position : this.position + 1]


def _read_member(text: str, this: Object) -> bool:
    if _next(text, this) != '"':
        return _unexpected(text, this)
    key_end = string_end(text, this.position + 1)
    if key_end is None:
        return _stop(this, End.OUTPUT, len(text))
    key = decode(text[this.position + 1 : key_end])
    this.position = key_end + 1
    character = _next(text, this)
    if character != ":":
        return _stop(this, End.BROKEN if character else End.OUTPUT, this.position)
    this.position += 1
    character = _next(text, this)
    if not character:
        return _stop(this, End.OUTPUT, len(text))
    is_second_name = key == "name" and this.name is not None
    if is_second_name or this.committed and key in ("arguments", "parameters"):
        this.repairs.add("member_repeated")
    if key == "name" and not this.committed:
        return _read_name(text, this)
    is_argument = key in ("arguments", "parameters") and not this.committed
    if character not in '{["-0123456789tfn' or is_argument and this.arguments is not None:
        return _stop(this, End.BROKEN, this.position)
    if is_argument:
        this.committed = this.name is not None
        this.repairs |= {"parameters_key"} if key == "parameters" else set()
        this.repairs |= {"arguments_as_text"} if character == '"' else set()
    return _read_value(text, this, is_argument)


def _read_name(text: str, this: Object) -> bool:
    if text[this.position] != '"':
        return _stop(this, End.BROKEN, this.position)
    name_end = string_end(text, this.position + 1)
    if name_end is None:
        return _stop(this, End.OUTPUT, len(text))
    this.name = decode(text[this.position + 1 : name_end])
    this.position = name_end + 1
    if this.arguments is not None:
        this.committed = this.ended = True
        this.arguments_end = this.position
    return True


def _read_value(text: str, this: Object, is_argument: bool) -> bool:
    """Read a value; False where the object ends with it."""
    start = this.position
    if text[start] == '"':
        quote = string_end(text, start + 1)
        value = decode(text[start + 1 : quote])
        end, closers = None if quote is None else quote + 1, ""
    elif text[start] in "{[":
        end, closers = bracket_end(text, start, this.committed)
        value = text[start:end]
    else:
        match = re.compile(r'[^ \t\n\r,:{}\[\]"<\\]*').match(text, start)
        assert match is not None
        value, closers = match[0], ""
        end = None if match.end() == len(text) else match.end()
        if value == "null" and end is not None:
            value = ""
    position = len(text) if end is None else end
    if is_argument:
        this.arguments = value
    if closers == "\\":
        return _stop(this, End.BROKEN, position)
    if end is None:
        return _stop(this, End.OUTPUT, position)
    if is_argument:
        this.arguments = value + closers or "{}"
        this.repairs |= {"arguments_missing"} if not value else set()
        this.ended = this.committed
        this.arguments_end = position
    this.position = position
    if closers:
        return _stop(this, End.TAG if this.name is not None else End.BROKEN, position)
    return True


def bracket_end(text: str, position: int, committed: bool) -> tuple[int | None, str]:
    r"""Where the brackets that open at `position` balance, and the closers that were missing.

    `(None, "")` if the output ends before; `(…, "\\")` if a backslash outside a string, before
    the call is certain, breaks the JSON.
    """
    closers = ""
    while position < len(text):
        character = text[position]
        if text.startswith(TAGS, position):
            return position, closers
        if cut_tag(text, position, *TAGS):
            return None, ""
        if character == "\\" and not committed:
            return position, "\\"
        if character == '"':
            quote = string_end(text, position + 1)
            if quote is None:
                return None, ""
            position = quote
        elif character in "{[":
            closers = ("}" if character == "{" else "]") + closers
        elif character in "}]":
            closers = closers[1:]
        position += 1
        if not closers:
            return position, ""
    return None, ""


def _read_separator(text: str, this: Object) -> bool:
    character = _next(text, this)
    if character == ",":
        this.position += 1
        return True
    if this.name is not None and character == "}":
        return _stop(this, End.CLOSED, this.position + 1)
    if this.name is not None and text.startswith(TAGS, this.position):
        return _stop(this, End.TAG, this.position)
    if this.name is not None and cut_tag(text, this.position, *TAGS):
        return _stop(this, End.OUTPUT, len(text))
    return _unexpected(text, this)


def _unexpected(text: str, this: Object) -> bool:
    """Where JSON wants something else: a call that is certain may end, another object breaks."""
    position = this.position
    character = text[position : position + 1]
    if not character or this.committed and cut_tag(text, position, *TAGS):
        return _stop(this, End.OUTPUT, len(text))
    if this.committed and character in "}]":
        this.repairs.add("trailing_comma" if character == "}" else "bracket_missing")
        return _stop(this, End.CLOSED, position + 1)
    if this.committed and character == "{":
        return _stop(this, End.NEXT, position)
    if this.committed and text.startswith(TAGS, position):
        return _stop(this, End.TAG, position)
    return _stop(this, End.BROKEN, position)


def read(text: str) -> Reading:
    """Read a whole output."""
    reading = Reading(text, undecided=len(text))
    position = searched = 0
    behind_block = False
    while (tag := text.find(OPENING, searched)) >= 0:
        end = _read_block(reading, position, tag)
        behind_block = end is not None and reading.spans[-1].kind is Kind.TAG
        if end is None:
            reading.cut_off_texts.append(False)
            position = searched = _mark(reading, Kind.CONTENT, position, tag + len(OPENING))
        else:
            position, searched = end
    rest = text[position:]
    dropped = behind_block and not rest.strip(WHITESPACE)
    _mark(reading, Kind.WHITESPACE if dropped else Kind.CONTENT, position, len(text))
    assert "".join(text[span.start : span.end] for span in reading.spans) == text
    return reading


def _mark(reading: Reading, kind: Kind, start: int, end: int) -> int:
    if start < end:
        reading.spans.append(Span(kind, start, end))
    return end


def _read_block(reading: Reading, start: int, tag: int) -> tuple[int, int] | None:
    """Read the block at `tag`, with the prose from `start` on; None if it is none.

    Returns where the prose behind it begins, and from where on a tag counts there.
    """
    text = reading.text
    position = skip(text, tag + len(OPENING))
    in_array = text[position : position + 1] == "["
    if in_array:
        position = skip(text, position + 1)
    if position == len(text):
        reading.undecided = tag
        reading.cut_off_texts.append(True)
        return (_mark(reading, Kind.CONTENT, start, position),) * 2
    if text[position] != "{":
        return None
    this = read_object(text, position)
    if not this.committed:
        if this.end is End.BROKEN:
            return None
        reading.undecided = tag
        reading.cut_off_texts.append(True)
        return (_mark(reading, Kind.CONTENT, start, len(text)),) * 2
    prose_end = start + len(text[start:tag].rstrip(WHITESPACE))
    _mark(reading, Kind.CONTENT, start, prose_end)
    _mark(reading, Kind.WHITESPACE, prose_end, tag)
    _mark(reading, Kind.TAG, tag, tag + len(OPENING))
    _mark(reading, Kind.SEPARATORS, tag + len(OPENING), position)
    several = False
    while True:
        if not this.committed:
            reading.cut_off_texts.append(this.end is not End.BROKEN)
            if this.end is End.BROKEN:
                return _read_tail(reading, position, this.position)
            reading.undecided = position
            reading.calls[-1].repairs.add("closing_tag_missing")
            return (_mark(reading, Kind.CONTENT, position, len(text)),) * 2
        reading.calls.append(this)
        if in_array or several:
            this.repairs.add("array_of_calls" if in_array else "several_in_block")
        several = True
        if this.end is End.BROKEN:
            this.repairs.add("text_in_block")
            _mark(reading, Kind.OBJECT, position, this.arguments_end)
            return _read_tail(reading, this.arguments_end, this.position)
        position = _mark(reading, Kind.OBJECT, position, this.position)
        if this.end is End.CLOSED:
            behind = skip(text, position, WHITESPACE + ",}]")
            closers = [each for each in text[position:behind] if each in "}]"]
            if in_array and "]" in closers:
                in_array = False
                closers.remove("]")
            if closers:
                this.repairs.add("bracket_too_many")
            position = _mark(reading, Kind.SEPARATORS, position, behind)
        if not text.startswith("{", position):
            return _end_block(reading, position, in_array)
        this = read_object(text, position)


def _end_block(reading: Reading, position: int, in_array: bool) -> tuple[int, int]:
    """The calls of a block are over at `position`: by a tag, by the output's end, or by prose."""
    text = reading.text
    last = reading.calls[-1]
    if text.startswith(OPENING, position) or position == len(text):
        end = position
    elif text.startswith(CLOSING, position):
        end = _mark(reading, Kind.TAG, position, position + len(CLOSING))
    elif cut_tag(text, position, CLOSING):
        end = _mark(reading, Kind.TAG, position, len(text))
    else:
        last.repairs.add("text_in_block")
        return _read_tail(reading, position, position)
    if last.ended and in_array:
        last.repairs.add("bracket_missing")
    if last.ended and not text.startswith(CLOSING, position):
        last.repairs.add("closing_tag_missing")
    return end, end


def _read_tail(reading: Reading, start: int, searched: int) -> tuple[int, int]:
    """Text in a block behind its calls; tags count from `searched` on."""
    text = reading.text
    closing = text.find(CLOSING, searched)
    opening = text.find(OPENING, searched)
    if closing < 0 or 0 <= opening < closing:
        reading.calls[-1].repairs.add("closing_tag_missing")
        return start, searched
    _mark(reading, Kind.CONTENT, start, closing)
    end = _mark(reading, Kind.TAG, closing, closing + len(CLOSING))
    return end, end
