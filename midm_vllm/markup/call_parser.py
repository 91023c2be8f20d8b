"""The object of one call: ``{"name": ..., "arguments": {...}}``, inside a block.

What belongs here: when a call is committed, which characters are its arguments,
and how a malformed object ends. What surrounds the object, and where its text
goes if it is no call, belongs to :mod:`reader`.

* A call is committed once it has a name, and its arguments have begun or its
  object has ended. Until then its text is held.
* From then on nothing is held but what may be part of a tag or of an escape
  (``TextBuffer.carry``, a dozen characters at most), and nothing is taken back.
* A tag inside a JSON string is text; outside one it ends the block.
* Before a call is committed, a backslash outside a string breaks its JSON: the
  rule that keeps reading linear (see :mod:`reader`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from midm_vllm.markup.event_writer import EventWriter
from midm_vllm.markup.events import ArgumentText, Repair
from midm_vllm.markup.json_escapes import (
    ESCAPE,
    LONGEST_ESCAPE,
    UNFINISHED_ESCAPE,
    decode,
    decode_escape,
)
from midm_vllm.markup.tags import TAGS, unfinished_tag
from midm_vllm.markup.text_buffer import TextBuffer

NAME_KEY = "name"
ARGUMENT_KEYS = ("arguments", "parameters")

_CLOSERS = {"{": "}", "[": "]"}

_scalar_run = re.compile(r'[^ \t\n\r,:{}\[\]"<\\]*')
_scalar_start = frozenset("-0123456789tfn")
_in_string_stop = re.compile(r'["\\]')
# To a string's closing quote, or to the delta's end: then the group holds a last backslash.
_STRING = r'[^"\\]*(?:\\.[^"\\]*)*(?:"|(\\?)\Z)'
# Everything in a value that changes no state: also whole strings.
_INERT = rf'[^"{{}}\[\]<\\]*(?:"{_STRING}[^"{{}}\[\]<\\]*)*'
_string = re.compile(_STRING, re.DOTALL)
_match_inert_run = re.compile(_INERT, re.DOTALL).match
_match_string_and_inert_run = re.compile(_STRING + _INERT, re.DOTALL).match


#: How an object ends; the buffer's position says where. "closed": with its bracket, or the
#: array's; read on behind it. "tag": at a tag, with brackets open. "next object": at that
#: object's brace; its own is missing. "broken": it cannot be a call, or the rest of one.
#: Strings, because Python 3.10 and 3.11 look up an Enum's members slowly.
End = Literal["closed", "tag", "next object", "broken"]


class CallParser:
    """Parses one object, whose brace is at the buffer's position.

    A state is a method that reads from the buffer's position as far as it goes, and
    returns how the object ends if it does.

    Attributes:
        is_committed: Whether the object is certain to be a call; its events are written.
    """

    __slots__ = (
        "state", "is_committed", "_buffer", "_writer", "_name", "_early_arguments",
        "_early_repairs", "_has_arguments", "_arguments_ended", "_has_argument_text", "_string",
        "_key", "_is_argument", "_brackets", "_in_string", "_escaped",
    )

    def __init__(
        self, buffer: TextBuffer, writer: EventWriter, repairs: tuple[Repair, ...] = ()
    ) -> None:
        self._buffer = buffer
        self._writer = writer
        self.is_committed = False
        self._name: str | None = None
        # What is written when the call is committed.
        self._early_arguments: list[str] = []
        self._early_repairs = repairs
        self._has_arguments = False
        self._arguments_ended = False
        self._has_argument_text = False
        # The string being read (a key or the name), and the value being read.
        self._string: list[str] = []
        self._key: str | None = None
        self._is_argument = False
        self._brackets: list[str] = []
        self._in_string = False
        self._escaped = False
        self.state: Callable[[CallParser], End | None] = CallParser._member
        buffer.hold(buffer.position)
        buffer.position += 1

    def cut_off(self, carry: str) -> None:
        """The output has ended inside a call that is committed, behind ``carry``."""
        if self._arguments_ended:
            # Behind the arguments only markup was held.
            self._writer.repair(Repair.BRACKET_MISSING)
            self._writer.repair(Repair.CLOSING_TAG_MISSING)
        else:
            self._add_argument(carry)

    # Members.

    def _member(self) -> End | None:
        character = self._buffer.next_character()
        if character == '"':
            self._key = None
            self._buffer.position += 1
            self.state = CallParser._short_string
            return None
        return self._end_object_or_break(character) if character else None

    def _colon(self) -> End | None:
        character = self._buffer.next_character()
        if character == ":":
            self._buffer.position += 1
            self.state = CallParser._value
            return None
        return "broken" if character else None

    def _after_value(self) -> End | None:
        character = self._buffer.next_character()
        if character == ",":
            self._buffer.position += 1
            self.state = CallParser._member
            return None
        if self._name is not None:
            if character == "}":
                return self._end_object()
            if character == "<":
                return self._end_at_tag()
        return self._end_object_or_break(character) if character else None

    def _end_object_or_break(self, character: str) -> End | None:
        """Where JSON wants something else, a committed call may still end."""
        if not self.is_committed:
            return "broken"
        if character in "}]":
            self._writer.repair(
                Repair.TRAILING_COMMA if character == "}" else Repair.BRACKET_MISSING
            )
            return self._end_object()
        if character == "{":
            self._writer.repair(Repair.BRACKET_MISSING)
            self._buffer.drop()
            return "next object"
        return self._end_at_tag() if character == "<" else "broken"

    def _end_object(self) -> End:
        self._complete_call()
        self._buffer.drop()
        self._buffer.position += 1
        return "closed"

    def _end_at_tag(self) -> End | None:
        """End the call if a tag stands here: the model considers it complete."""
        if not self._buffer.is_at_tag():
            return None if self._buffer.wait_for_tag() else "broken"
        if self._name is None:
            return "broken"
        self._complete_call()
        self._writer.repair(Repair.BRACKET_MISSING)
        return "tag"

    # The call.

    def _commit(self) -> None:
        assert self._name is not None
        self._buffer.drop()
        self.is_committed = True
        self._writer.start_call(self._name)
        for repair in self._early_repairs:
            self._writer.repair(repair)
        self._add_argument("".join(self._early_arguments))

    def _complete_call(self) -> None:
        if not self.is_committed:
            self._commit()
        if not self._arguments_ended:
            self._end_arguments()

    def _end_arguments(self) -> None:
        if self._brackets and self._is_argument:
            self._add_argument("".join(reversed(self._brackets)))
        self._arguments_ended = True
        if not self.is_committed:
            return
        if not self._has_argument_text:
            self._writer.repair(Repair.ARGUMENTS_MISSING)
            self._add_argument("{}")
        self._writer.end_call()
        # The rest of the object is markup, unless it breaks: then it is text.
        self._buffer.hold(self._buffer.position)

    def _add_argument(self, text: str) -> None:
        if not text:
            return
        if self.is_committed:
            self._has_argument_text = True
            writer = self._writer
            writer.events.append(ArgumentText(writer.index, text))
        else:
            self._early_arguments.append(text)

    def _repair(self, repair: Repair) -> None:
        """Report a repair of this object, as soon as it is a call."""
        if self.is_committed:
            self._writer.repair(repair)
        else:
            self._early_repairs += (repair,)

    # Keys and values.

    def _short_string(self) -> None:
        """A key, or the value of the name: read whole, then decoded."""
        text, start = self._buffer.text, self._buffer.position
        position = start + self._escaped
        self._escaped = False
        while match := _in_string_stop.search(text, position):
            position = match.end()
            if match[0] == '"':
                self._string.append(text[start : position - 1])
                self._buffer.position = position
                self._end_short_string(decode("".join(self._string)))
                return
            self._escaped = position == len(text)
            position += 1
        self._string.append(text[start:])
        self._buffer.position = len(text)

    def _end_short_string(self, string: str) -> None:
        self._string.clear()
        if self._key is None:
            self._key = string
            self.state = CallParser._colon
            return
        self._name = string
        self.state = CallParser._after_value
        if self._has_arguments:
            self._commit()
            self._end_arguments()

    def _value(self) -> End | None:
        character = self._buffer.next_character()
        if not character:
            return None
        is_argument = self._key in ARGUMENT_KEYS
        if self._key == NAME_KEY and self._name is not None or is_argument and self.is_committed:
            self._repair(Repair.MEMBER_REPEATED)
        if self._key == NAME_KEY and not self.is_committed:
            if character != '"':
                return "broken"
            self._buffer.position += 1
            self.state = CallParser._short_string
            return None
        self._is_argument = is_argument and not self.is_committed
        if character in "{[":
            state = CallParser._nested
        elif character == '"':
            state = CallParser._argument_string if self._is_argument else CallParser._other_string
            self._buffer.position += 1
        elif character in _scalar_start:
            state = CallParser._scalar
        else:
            return "broken"
        if self._is_argument:
            if self._has_arguments:
                return "broken"
            self._has_arguments = True
            self._has_argument_text = character in "{["
            if self._key == "parameters":
                self._repair(Repair.PARAMETERS_KEY)
            if character == '"':
                self._repair(Repair.ARGUMENTS_AS_TEXT)
            if self._name is not None:
                self._commit()
        self.state = state
        return None

    def _end_value(self, position: int) -> None:
        self._buffer.position = position
        self.state = CallParser._after_value
        if self._is_argument:
            self._end_arguments()

    def _nested(self) -> End | None:
        """An object or an array: verbatim.

        Only strings and brackets are tracked, so small errors of the model pass.
        """
        buffer = self._buffer
        text = buffer.text
        start = position = buffer.position
        end = len(text)
        if self._escaped:
            self._escaped = False
            position += 1
        elif self._in_string and '"' not in text and "\\" not in text:
            # The usual delta: all of it is inside a string.
            buffer.position = end
            if self._is_argument:
                self._add_argument(text)
            return None
        brackets = self._brackets
        while position < end:
            match = (_match_string_and_inert_run if self._in_string else _match_inert_run)(
                text, position
            )
            assert match is not None
            if match.lastindex:
                self._in_string = True
                self._escaped = match[match.lastindex] == "\\"
                break
            self._in_string = False
            position = match.end()
            if position == end:
                break
            character = text[position]
            position += 1
            if character in _CLOSERS:
                brackets.append(_CLOSERS[character])
            elif character == "}" or character == "]":
                brackets.pop()
                if not brackets:
                    end = position
            elif character == "<":
                tag = position - 1
                if text.startswith(TAGS, tag) or unfinished_tag(text, tag) == tag:
                    end = tag
            elif character == "\\" and not self.is_committed:
                buffer.position = position
                return "broken"
        buffer.position = end
        if self._is_argument:
            self._add_argument(text[start:end])
        if not brackets:
            self._end_value(end)
        elif end < len(text):
            return self._end_at_tag()
        return None

    def _argument_string(self) -> None:
        """Arguments in a JSON string: decoded as they arrive."""
        buffer = self._buffer
        text, position = buffer.text, buffer.position
        decoded: list[str] = []
        while match := _in_string_stop.search(text, position):
            at = match.start()
            decoded.append(text[position:at])
            if match[0] == '"':
                self._add_argument("".join(decoded))
                self._end_value(at + 1)
                return
            if UNFINISHED_ESCAPE.fullmatch(text, at, min(len(text), at + LONGEST_ESCAPE)):
                self._add_argument("".join(decoded))
                buffer.wait(at)
                return
            escape = ESCAPE.match(text, at)
            assert escape is not None
            decoded.append(decode_escape(escape))
            position = escape.end()
        decoded.append(text[position:])
        self._add_argument("".join(decoded))
        buffer.position = len(text)

    def _other_string(self) -> None:
        """A string that is no argument: only its end matters."""
        match = _string.match(self._buffer.text, self._buffer.position + self._escaped)
        assert match is not None
        self._escaped = match[1] == "\\"
        self._buffer.position = match.end()
        if match.lastindex is None:
            self._end_value(match.end())

    def _scalar(self) -> None:
        """A number, true, false, or null, which as arguments means none."""
        text, start = self._buffer.text, self._buffer.position
        match = _scalar_run.match(text, start)
        end = match.end() if match else start
        scalar = text[start:end]
        if self._is_argument:
            begins = not (self._has_argument_text or self._early_arguments)
            if end == len(text) and begins and "null".startswith(scalar):
                self._buffer.wait(start)
                return
            if not (begins and scalar == "null"):
                self._add_argument(scalar)
        self._buffer.position = end
        if end < len(text):
            self._end_value(end)
