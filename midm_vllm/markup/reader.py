"""The reader of Mi:dm's tool-call markup: text in, events out.

Mi:dm writes its calls as JSON objects between ``<tool_call>`` and
``</tool_call>``, one or several to a block, with prose around the blocks:

    output = *( prose / block )
    block  = "<tool_call>" ws calls ws [ "</tool_call>" ]
    calls  = call *( ws [","] ws call )   or   "[" ws [ call *( ws "," ws call ) ] ws "]"
    call   = a JSON object with a string member "name"
             and at most one of "arguments" and "parameters"

Everything that decides what is a call and what is text is in this file, and
nothing else is: no vLLM, no I/O. One method per state reads the delta from one
interesting character to the next. What keeps it right:

* Until a call is certain (it has a name, and its arguments have begun or its
  object has ended) its text is held. If it proves to be no call, the text is
  content: after the tag of a block without calls, reading starts again.
* From then on nothing is held but what may be part of a tag or of an escape
  (``_carry``, a dozen characters at most), and nothing is taken back.
* A tag inside a JSON string is text; outside one it ends the block.

Every character is read at most a constant number of times. Starting again
keeps that promise because of one rule: before a call is certain, a backslash
outside a string breaks its JSON. Of two overlapping attempts, then, one is
inside a string exactly where the other is outside, so the next tag ends one of
them, and no character ever belongs to three.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from midm_vllm.markup.events import ArgumentText, CallEnded, CallStarted, ContentText, Event

OPENING_TAG = "<tool_call>"
CLOSING_TAG = "</tool_call>"
NAME_KEY = "name"
ARGUMENT_KEYS = ("arguments", "parameters")

_TAGS = (OPENING_TAG, CLOSING_TAG)
_WHITESPACE = " \t\n\r"
_CLOSERS = {"{": "}", "[": "]"}

_whitespace_run = re.compile(r"[ \t\n\r]*")
_separator_run = re.compile(r"[ \t\n\r,}\]]*")
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

_escape = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))",
    re.DOTALL,
)
_LONGEST_ESCAPE = 12
_unfinished_escape = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3}"
    r"|u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?)?"
)
_SHORT_ESCAPES = {
    '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"
}


def _decode_escape(match: re.Match[str]) -> str:
    """The character of a JSON escape; one that stands for none stays as written."""
    high, low, code, short = match.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    if code:
        number = int(code, 16)
        # Half of a surrogate pair is no character and cannot be sent as UTF-8.
        return match[0] if 0xD800 <= number <= 0xDFFF else chr(number)
    return _SHORT_ESCAPES.get(short, match[0])


def _unfinished_tag(text: str, start: int, *tags: str) -> int:
    """Where a proper prefix of a tag stands at the end of ``text``, or its length."""
    at = text.rfind("<", max(start, len(text) - len(CLOSING_TAG) + 1))
    if at >= 0 and any(tag.startswith(text[at:]) for tag in tags):
        return at
    return len(text)


class MarkupReader:
    """Reads one output of the model, delta by delta.

    ``feed`` takes the next characters, ``finish`` says that there are no more;
    both return the events that follow from them. How the text is cut into
    deltas makes no difference to the content, the calls and the arguments that
    the events add up to. No text raises.

    >>> reader = MarkupReader()
    >>> reader.feed('Sure.\\n<tool_call>{"name": "add", "argu')
    [ContentText(text='Sure.')]
    >>> reader.feed('ments": {"a": 1')
    [CallStarted(index=0, name='add'), ArgumentText(index=0, text='{"a": 1')]
    >>> reader.feed('}}</tool_call>') + reader.finish()
    [ArgumentText(index=0, text='}'), CallEnded(index=0)]
    """

    # What is known of the object being read; see _start_object.
    _name: str | None
    _committed: bool
    _arguments_ended: bool

    def __init__(self) -> None:
        self._state: Callable[[MarkupReader], None] = MarkupReader._prose
        self._events: list[Event] = []
        # The delta being read, and how far.
        self._text = ""
        self._position = 0
        # The end of the last delta, where it may be part of a tag or an escape.
        self._carry = ""
        # Held text: pieces of earlier deltas, and where it begins or, if there
        # are such pieces, goes on in this one.
        self._held: list[str] = []
        self._held_from: int | None = None
        self._index = -1
        self._block_has_calls = False
        self._after_block = False
        self._start_object()

    def __repr__(self) -> str:
        return (
            f"MarkupReader(state={self._state.__name__.lstrip('_')!r}, calls={self._index + 1}, "
            f"open_brackets={len(self._brackets)}, in_string={self._in_string}, "
            f"carry={self._carry!r})"
        )

    def feed(self, text: str) -> list[Event]:
        """Read the next characters of the output."""
        events = self._events = []
        if self._carry:
            text = self._carry + text
            self._carry = ""
        self._text = text
        self._position = 0
        while self._position < len(self._text):
            self._state(self)
        if self._held_from is not None:
            self._held.append(self._text[self._held_from :])
            self._held_from = 0
        return events

    def finish(self) -> list[Event]:
        """The output has ended: what was held back, as what it has proved to be."""
        events = self._events = []
        if self._committed:
            # Cut off inside a call. Behind the arguments only markup was held.
            if not self._arguments_ended:
                self._argument(self._carry)
        elif self._state is MarkupReader._between_calls:
            # A closing tag that was cut off is as little content as a whole one.
            if not CLOSING_TAG.startswith(self._carry):
                self._content(self._carry)
        else:
            text = "".join(self._held) + self._carry
            if not (self._after_block and not text.strip(_WHITESPACE)):
                self._content(text)
        self._drop_held()
        self._carry = ""
        self._committed = False
        self._state = MarkupReader._prose
        return events

    # Holding, waiting, and giving out.

    def _hold(self, position: int) -> None:
        if self._held_from is None:
            self._held_from = position

    def _drop_held(self) -> None:
        self._held.clear()
        self._held_from = None

    def _release(self, end: int) -> None:
        """What was held, and the text on to ``end``, is content."""
        self._content("".join(self._held) + self._text[self._held_from : end])
        self._drop_held()

    def _release_text(self, end: int) -> None:
        """The same, but for the whitespace before ``end``, which a block may follow."""
        start = self._held_from or 0
        text_end = start + len(self._text[start:end].rstrip(_WHITESPACE))
        if text_end > start:
            self._release(text_end)
            self._hold(text_end)
        elif self._held:
            earlier = "".join(self._held)
            text = earlier.rstrip(_WHITESPACE)
            self._content(text)
            self._held = [earlier[len(text) :]]

    def _wait(self, position: int) -> None:
        """Read from ``position`` again when more has come."""
        self._carry = self._text[position:]
        self._text = self._text[:position]
        self._position = position

    def _content(self, text: str) -> None:
        if text:
            self._after_block = False
            self._events.append(ContentText(text))

    def _argument(self, text: str) -> None:
        if not text:
            return
        if self._committed:
            self._has_argument_text = True
            self._events.append(ArgumentText(self._index, text))
        else:
            self._early_arguments.append(text)

    # Prose.

    def _prose(self) -> None:
        self._read_prose(OPENING_TAG)

    def _tail(self) -> None:
        """Text in a block behind its good calls: content up to the block's end."""
        self._read_prose(OPENING_TAG, CLOSING_TAG)

    def _read_prose(self, *tags: str) -> None:
        text, start = self._text, self._position
        end, tag = text.find(OPENING_TAG, start), OPENING_TAG
        if len(tags) > 1:
            closing = text.find(CLOSING_TAG, start, end if end >= 0 else len(text))
            if closing >= 0:
                end, tag = closing, CLOSING_TAG
        found = end >= 0
        if not found:
            end = _unfinished_tag(text, start, *tags)
        content_end = start + len(text[start:end].rstrip(_WHITESPACE))
        if content_end > start:
            self._hold(start)
            self._release(content_end)
        if content_end < end:
            self._hold(content_end)
        if not found:
            if end < len(text):
                self._wait(end)
            self._position = end
        elif tag is OPENING_TAG:
            self._hold(end)
            self._block_has_calls = False
            self._position = end + len(OPENING_TAG)
            self._state = MarkupReader._block
        else:
            if self._held_from is not None:
                self._release(end)
            self._end_block(end)

    # A block, outside its objects.

    def _block(self) -> None:
        character = self._next_character()
        if character == "{":
            self._enter_object()
        elif character == "[":
            self._position += 1
            self._state = MarkupReader._array
        elif character:
            self._give_up()

    def _array(self) -> None:
        character = self._next_character()
        if character == "{":
            self._enter_object()
        elif character:
            self._give_up()

    def _between_calls(self) -> None:
        """Separators and superfluous closers, up to the next call or the block's end."""
        match = _separator_run.match(self._text, self._position)
        self._position = match.end() if match else self._position
        character = self._text[self._position : self._position + 1]
        if character == "{":
            self._enter_object()
        elif character and not self._at_tag(self._end_block):
            self._state = MarkupReader._tail

    def _at_tag(self, act: Callable[[int], None]) -> bool:
        """Act if a tag stands here, wait if it may be one; False if there is none."""
        text, position = self._text, self._position
        if text.startswith(_TAGS, position):
            act(position)
        elif _unfinished_tag(text, position, *_TAGS) == position:
            self._wait(position)
        else:
            return False
        return True

    def _end_block(self, tag: int) -> None:
        """The block ends at the tag at ``tag``; an opening one is read as the next."""
        self._drop_held()
        self._committed = False
        self._after_block = True
        self._state = MarkupReader._prose
        opens = self._text.startswith(OPENING_TAG, tag)
        self._position = tag if opens else tag + len(CLOSING_TAG)

    def _give_up(self) -> None:
        """What stands here cannot be (the rest of) a call."""
        if self._block_has_calls:
            if self._held_from is not None:
                self._release_text(self._position)
            self._committed = False
            self._state = MarkupReader._tail
            return
        # The tag was prose, and so, perhaps, is what stands behind it.
        start = self._held_from or 0
        if self._held:
            self._text = "".join(self._held) + self._text
        self._position = self._text.index(OPENING_TAG, start) + len(OPENING_TAG)
        self._content(self._text[start : self._position])
        self._drop_held()
        self._state = MarkupReader._prose

    # An object, outside its values.

    def _start_object(self) -> None:
        self._name = None
        self._committed = False
        self._early_arguments: list[str] = []
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
        self._state = MarkupReader._member

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
            self._state = MarkupReader._short_string
        elif character:
            self._end_object_or_give_up(character)

    def _colon(self) -> None:
        character = self._next_character()
        if character == ":":
            self._position += 1
            self._state = MarkupReader._value
        elif character:
            self._give_up()

    def _after_value(self) -> None:
        character = self._next_character()
        if character == ",":
            self._position += 1
            self._state = MarkupReader._member
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
            self._end_object()
        elif self._committed and character == "{":
            # The model forgot this object's brace and began the next one.
            self._enter_next_object()
        elif not (self._committed and character == "<" and self._at_tag(self._close_early)):
            self._give_up()

    def _end_object(self) -> None:
        self._complete_call()
        self._drop_held()
        self._committed = False
        self._position += 1
        self._state = MarkupReader._between_calls

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
        self._end_block(tag)

    # The call.

    def _commit(self) -> None:
        assert self._name is not None
        self._drop_held()
        self._committed = True
        self._block_has_calls = True
        self._index += 1
        self._events.append(CallStarted(self._index, self._name))
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
            self._argument("{}")
        self._events.append(CallEnded(self._index))
        # The rest of the object is markup, unless it breaks: then it is text.
        self._hold(self._position)

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
                self._end_short_string(_escape.sub(_decode_escape, "".join(self._string)))
                return
            self._escaped = position == len(text)
            position += 1
        self._string.append(text[start:])
        self._position = len(text)

    def _end_short_string(self, string: str) -> None:
        self._string.clear()
        if self._key is None:
            self._key = string
            self._state = MarkupReader._colon
            return
        self._name = string
        self._state = MarkupReader._after_value
        if self._has_arguments:
            self._commit()
            self._end_arguments()

    def _value(self) -> None:
        character = self._next_character()
        if not character:
            return
        self._is_argument = self._key in ARGUMENT_KEYS and not self._committed
        if self._key == NAME_KEY and not self._committed:
            if character != '"':
                self._give_up()
                return
            self._position += 1
            self._state = MarkupReader._short_string
            return
        if character in "{[":
            state = MarkupReader._nested
        elif character == '"' and self._is_argument:
            state = MarkupReader._argument_string
            self._position += 1
        elif character == '"':
            state = MarkupReader._other_string
            self._position += 1
        elif character in _scalar_start:
            state = MarkupReader._scalar
        else:
            self._give_up()
            return
        if self._is_argument:
            if self._has_arguments:
                self._give_up()
                return
            self._has_arguments = True
            if self._name is not None:
                self._commit()
        self._state = state

    def _end_value(self, position: int) -> None:
        self._position = position
        self._state = MarkupReader._after_value
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
                if _unfinished_tag(text, tag, *_TAGS) == tag or text.startswith(_TAGS, tag):
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
            if _unfinished_escape.fullmatch(text, at, min(len(text), at + _LONGEST_ESCAPE)):
                self._argument("".join(decoded))
                self._wait(at)
                return
            escape = _escape.match(text, at)
            assert escape is not None
            decoded.append(_decode_escape(escape))
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
