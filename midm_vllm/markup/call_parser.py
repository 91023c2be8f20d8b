"""The object of one call: ``{"name": ..., "arguments": {...}}``, inside a block.

    call = a JSON object with a string member "name"
           and at most one of "arguments" and "parameters"

What belongs here: when a call is certain, which characters are its arguments,
how an object ends that the model wrote badly. What stands around the object,
and where its text goes if it proves to be no call, is :mod:`reader`'s.

* Until a call is certain (it has a name, and its arguments have begun or its
  object has ended) its text is held.
* From then on nothing is held but what may be part of a tag or of an escape
  (``_carry``, a dozen characters at most), and nothing is taken back.
* A tag inside a JSON string is text; outside one it ends the block.
* Before a call is certain, a backslash outside a string breaks its JSON: the
  rule that keeps reading linear (see :mod:`reader`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable

from midm_vllm.markup.events import ArgumentText, CallEnded, CallRepaired, CallStarted, Repair
from midm_vllm.markup.text_buffer import HeldText
from midm_vllm.markup.json_escapes import (
    ESCAPE,
    LONGEST_ESCAPE,
    UNFINISHED_ESCAPE,
    decode_escape,
)
from midm_vllm.markup.tags import TAGS, unfinished_tag

NAME_KEY = "name"
ARGUMENT_KEYS = ("arguments", "parameters")

_CLOSERS = {"{": "}", "[": "]"}

_whitespace_run = re.compile(r"[ \t\n\r]*")
_scalar_run = re.compile(r'[^ \t\n\r,:{}\[\]"<\\]*')
_scalar_start = frozenset("-0123456789tfn")
_in_string_stop = re.compile(r'["\\]')
# To a string's closing quote, or to the delta's end: then a group tells of a last backslash.
_STRING = r'[^"\\]*(?:\\.[^"\\]*)*(?:"|(\\?)\Z)'
# Everything in a value that changes no state: also whole strings.
_INERT = rf'[^"{{}}\[\]<\\]*(?:"{_STRING}[^"{{}}\[\]<\\]*)*'
_string = re.compile(_STRING, re.DOTALL)
_match_inert_run = re.compile(_INERT, re.DOTALL).match
_match_string_and_inert_run = re.compile(_STRING + _INERT, re.DOTALL).match


class CallObject(HeldText, ABC):
    """Reads the object of one call, state by state; the class below it reads the rest.

    A state is a method that reads from ``_position`` as far as it goes.
    """

    _state: Callable[..., None]
    _index: int
    _block_has_calls: bool
    _in_array: bool
    # What has been told of the last call.
    _repairs: list[Repair]
    # What is known of the object being read; see _start_object.
    _name: str | None
    _committed: bool
    _arguments_ended: bool

    # How an object ends.

    @abstractmethod
    def _leave_object(self) -> None:
        """The object is complete: go on behind it."""

    @abstractmethod
    def _end_block(self, tag: int) -> None:
        """The block ends at the tag at ``tag``."""

    @abstractmethod
    def _give_up(self) -> None:
        """What stands here cannot be (the rest of) a call."""

    def _at_tag(self, act: Callable[[int], None]) -> bool:
        """Act if a tag stands here, wait if it may be one; False if there is none."""
        text, position = self._text, self._position
        if text.startswith(TAGS, position):
            act(position)
        elif unfinished_tag(text, position, *TAGS) == position:
            self._wait(position)
        else:
            return False
        return True

    # Outside its values.

    def _start_object(self) -> None:
        self._name = None
        self._committed = False
        self._early_arguments: list[str] = []
        self._early_repairs: tuple[Repair, ...] = ()
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

    def _enter_object(self) -> None:
        self._start_object()
        self._hold(self._position)
        self._position += 1
        self._state = CallObject._member

    def _next_character(self) -> str:
        """The next character that is no whitespace; "" where the delta has none."""
        match = _whitespace_run.match(self._text, self._position)
        self._position = match.end() if match else self._position
        return self._text[self._position : self._position + 1]

    def _member(self) -> None:
        character = self._next_character()
        if character == '"':
            self._key = None
            self._position += 1
            self._state = CallObject._short_string
        elif character:
            self._end_object_or_give_up(character)

    def _colon(self) -> None:
        character = self._next_character()
        if character == ":":
            self._position += 1
            self._state = CallObject._value
        elif character:
            self._give_up()

    def _after_value(self) -> None:
        character = self._next_character()
        if character == ",":
            self._position += 1
            self._state = CallObject._member
        elif character == "}" and self._name is not None:
            self._end_object()
        elif character == "<" and self._name is not None:
            if not self._at_tag(self._close_early):
                self._give_up()
        elif character:
            self._end_object_or_give_up(character)

    def _end_object_or_give_up(self, character: str) -> None:
        """Where JSON wants something else, a call that is certain may still end."""
        if self._committed and character in "}]":
            self._repair(Repair.TRAILING_COMMA if character == "}" else Repair.BRACKET_MISSING)
            self._end_object()
        elif self._committed and character == "{":
            # The model forgot this object's brace and began the next one.
            self._repair(Repair.BRACKET_MISSING)
            self._enter_next_object()
        elif not (self._committed and character == "<" and self._at_tag(self._close_early)):
            self._give_up()

    def _end_object(self) -> None:
        self._complete_call()
        self._drop_held()
        self._committed = False
        self._position += 1
        self._leave_object()

    def _enter_next_object(self) -> None:
        self._drop_held()
        self._enter_object()

    def _close_early(self, tag: int) -> None:
        """A tag, with the object still open: the model said that it is done."""
        if self._name is None:
            self._position = tag
            self._give_up()
            return
        self._complete_call()
        self._repair(Repair.BRACKET_MISSING)
        self._end_block(tag)

    # The call.

    def _commit(self) -> None:
        assert self._name is not None
        self._drop_held()
        self._committed = True
        self._index += 1
        self._events.append(CallStarted(self._index, self._name))
        self._repairs = []
        if self._in_array:
            self._repair(Repair.ARRAY_OF_CALLS)
        elif self._block_has_calls:
            self._repair(Repair.SEVERAL_IN_BLOCK)
        for repair in self._early_repairs:
            self._repair(repair)
        self._block_has_calls = True
        self._argument("".join(self._early_arguments))

    def _complete_call(self) -> None:
        if not self._committed:
            self._commit()
        if not self._arguments_ended:
            self._end_arguments()

    def _end_arguments(self) -> None:
        if self._brackets and self._is_argument:
            self._argument("".join(reversed(self._brackets)))
        self._arguments_ended = True
        if not self._committed:
            return
        if not self._has_argument_text:
            self._repair(Repair.ARGUMENTS_MISSING)
            self._argument("{}")
        self._events.append(CallEnded(self._index))
        # The rest of the object is markup, unless it breaks: then it is text.
        self._hold(self._position)

    def _argument(self, text: str) -> None:
        if not text:
            return
        if self._committed:
            self._has_argument_text = True
            self._events.append(ArgumentText(self._index, text))
        else:
            self._early_arguments.append(text)

    # What the model wrote otherwise than it was taught. None of this is on a delta's usual way.

    def _repair(self, repair: Repair) -> None:
        """Tell it of the last call, once."""
        if repair not in self._repairs:
            self._repairs.append(repair)
            self._events.append(CallRepaired(self._index, repair))

    def _repair_object(self, repair: Repair) -> None:
        """Tell it of the object being read, as soon as that is a call."""
        if self._committed:
            self._repair(repair)
        else:
            self._early_repairs += (repair,)

    # Keys and values.

    def _short_string(self) -> None:
        """A key, or the value of the name: read whole, then decoded."""
        text, start = self._text, self._position
        position = start + self._escaped
        self._escaped = False
        while match := _in_string_stop.search(text, position):
            position = match.end()
            if match[0] == '"':
                self._string.append(text[start : position - 1])
                self._position = position
                self._end_short_string(ESCAPE.sub(decode_escape, "".join(self._string)))
                return
            self._escaped = position == len(text)
            position += 1
        self._string.append(text[start:])
        self._position = len(text)

    def _end_short_string(self, string: str) -> None:
        self._string.clear()
        if self._key is None:
            self._key = string
            self._state = CallObject._colon
            return
        self._name = string
        self._state = CallObject._after_value
        if self._has_arguments:
            self._commit()
            self._end_arguments()

    def _value(self) -> None:
        character = self._next_character()
        if not character:
            return
        self._is_argument = self._key in ARGUMENT_KEYS and not self._committed
        if self._key == NAME_KEY and self._name is not None or (
            self._committed and self._key in ARGUMENT_KEYS
        ):
            self._repair_object(Repair.MEMBER_REPEATED)
        if self._key == NAME_KEY and not self._committed:
            if character != '"':
                self._give_up()
                return
            self._position += 1
            self._state = CallObject._short_string
            return
        if character in "{[":
            state = CallObject._nested
        elif character == '"' and self._is_argument:
            state = CallObject._argument_string
            self._position += 1
        elif character == '"':
            state = CallObject._other_string
            self._position += 1
        elif character in _scalar_start:
            state = CallObject._scalar
        else:
            self._give_up()
            return
        if self._is_argument:
            if self._has_arguments:
                self._give_up()
                return
            self._has_arguments = True
            if self._key == "parameters":
                self._repair_object(Repair.PARAMETERS_KEY)
            if character == '"':
                self._repair_object(Repair.ARGUMENTS_AS_TEXT)
            if self._name is not None:
                self._commit()
        self._state = state

    def _end_value(self, position: int) -> None:
        self._position = position
        self._state = CallObject._after_value
        if self._is_argument:
            self._end_arguments()

    def _nested(self) -> None:
        """An object or an array: verbatim.

        Only strings and brackets are followed, so that the model's small slips
        do not matter.
        """
        text = self._text
        start = position = self._position
        end = len(text)
        if self._escaped:
            self._escaped = False
            position += 1
        elif self._in_string and '"' not in text and "\\" not in text:
            # Most deltas are the inside of a string and nothing else.
            position = end
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
                if unfinished_tag(text, tag, *TAGS) == tag or text.startswith(TAGS, tag):
                    end = tag
            elif character == "\\" and not self._committed:
                self._position = position
                self._give_up()
                return
        self._position = end
        if self._is_argument:
            self._argument(text[start:end])
        if not brackets:
            self._end_value(end)
        elif end < len(text):
            self._at_tag(self._close_early)

    def _argument_string(self) -> None:
        """Arguments in a JSON string: decoded as they arrive."""
        text, position = self._text, self._position
        decoded: list[str] = []
        while match := _in_string_stop.search(text, position):
            at = match.start()
            decoded.append(text[position:at])
            if match[0] == '"':
                self._argument("".join(decoded))
                self._end_value(at + 1)
                return
            if UNFINISHED_ESCAPE.fullmatch(text, at, min(len(text), at + LONGEST_ESCAPE)):
                self._argument("".join(decoded))
                self._wait(at)
                return
            escape = ESCAPE.match(text, at)
            assert escape is not None
            decoded.append(decode_escape(escape))
            position = escape.end()
        decoded.append(text[position:])
        self._argument("".join(decoded))
        self._position = len(text)

    def _other_string(self) -> None:
        """A string that is no argument: of no interest but for its end."""
        match = _string.match(self._text, self._position + self._escaped)
        assert match is not None
        self._escaped = match[1] == "\\"
        self._position = match.end()
        if match.lastindex is None:
            self._end_value(match.end())

    def _scalar(self) -> None:
        """A number, true, false, or null, which as arguments means none."""
        text, start = self._text, self._position
        match = _scalar_run.match(text, start)
        end = match.end() if match else start
        scalar = text[start:end]
        if self._is_argument:
            begins = not (self._has_argument_text or self._early_arguments)
            if end == len(text) and begins and "null".startswith(scalar):
                self._wait(start)
                return
            if not (begins and scalar == "null"):
                self._argument(scalar)
        self._position = end
        if end < len(text):
            self._end_value(end)
