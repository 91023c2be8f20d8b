"""The reader of Mi:dm's tool-call markup: text in, events out.

Mi:dm writes calls as JSON objects between ``<tool_call>`` and ``</tool_call>``,
one or several per block, with prose around the blocks:

    output = *( prose / block )
    block  = "<tool_call>" ws calls ws [ "</tool_call>" ]
    calls  = call *( ws [","] ws call )   or   "[" ws [ call *( ws "," ws call ) ] ws "]"
    call   = a JSON object with a string member "name"
             and at most one of "arguments" and "parameters"

Prose and blocks are read here, and the object of one call in :mod:`call_parser`.
Both read a :class:`TextBuffer`, which also holds text back until it is decided.
One method per state reads from one significant character to the next. Text that
looked like a call and is not one is content: reading restarts after its tag.

Every character is read at most a constant number of times, in spite of restarts:
before a call is committed, a backslash outside a string breaks its JSON. So of two
overlapping attempts, one is inside a string exactly where the other is outside.
The next tag ends one of them, and no character ever belongs to three.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from midm_vllm.markup.call_parser import CallParser, End
from midm_vllm.markup.event_writer import EventWriter
from midm_vllm.markup.events import ContentText, Event, MarkupAsText, Repair
from midm_vllm.markup.tags import (
    CLOSING_TAG,
    OPENING_PREFIXES,
    OPENING_TAG,
    TAG_PREFIXES,
    WHITESPACE,
    unfinished_tag,
)
from midm_vllm.markup.text_buffer import TextBuffer

_separator_run = re.compile(r"[ \t\n\r,}\]]*")


class MarkupReader:
    """Reads one output of the model, delta by delta.

    How the text is cut into deltas makes no difference to the content, the calls
    and the arguments that the events add up to. No text raises.

    >>> reader = MarkupReader()
    >>> reader.feed('Sure.\\n<tool_call>{"name": "add", "argu')
    [ContentText(text='Sure.')]
    >>> reader.feed('ments": {"a": 1')
    [CallStarted(index=0, name='add'), ArgumentText(index=0, text='{"a": 1')]
    >>> reader.feed('}}</tool_call>') + reader.finish()
    [ArgumentText(index=0, text='}'), CallEnded(index=0)]
    """

    def __init__(self) -> None:
        self._buffer = TextBuffer()
        self._writer = EventWriter()
        # The parser of the present object; None outside of objects, where the state reads.
        self._call: CallParser | None = None
        self._state: Callable[[MarkupReader], None] = MarkupReader._prose
        self._in_array = False
        self._block_has_calls = False
        # Whether a block has ended and no content come since.
        self._after_block = False

    def __repr__(self) -> str:
        state = self._state if self._call is None else self._call.state
        return (
            f"MarkupReader(state={state.__name__.lstrip('_')!r}, calls={self._writer.index + 1}, "
            f"held={self.held_length})"
        )

    @property
    def held_length(self) -> int:
        """How many characters are held back, because they may be content or not."""
        return self._buffer.held_length

    def feed(self, text: str) -> list[Event]:
        """Read the next characters of the output.

        Args:
            text: Any text, of any length.

        Returns:
            The events that follow from it, in order.
        """
        events = self._writer.events = []
        buffer = self._buffer
        buffer.append(text)
        while buffer.position < len(buffer.text):
            call = self._call
            if call is None:
                state = self._state  # Calling it by a local name saves a slow look-up.
                state(self)
            else:
                read = call.state
                if (end := read(call)) is not None:
                    self._leave_object(call, end)
        return events

    def finish(self) -> list[Event]:
        """End the output.

        Returns:
            The events that settle what was held back. A second call returns none.
        """
        events = self._writer.events = []
        buffer = self._buffer
        if self._call is None and self._state is MarkupReader._prose and not buffer.is_holding:
            return events  # The usual case, and vLLM calls this twice.
        carry, held = buffer.carry, buffer.take_all()
        if self._call is not None and self._call.is_committed:
            self._call.cut_off(carry)
        elif self._call is None and self._state is MarkupReader._between_calls:
            # A closing tag that was cut off is not content either.
            if not CLOSING_TAG.startswith(carry):
                self._add_content(carry)
                self._writer.repair(Repair.TEXT_IN_BLOCK)
            elif self._in_array:
                self._writer.repair(Repair.BRACKET_MISSING)
            self._writer.repair(Repair.CLOSING_TAG_MISSING)
        else:
            if not self._after_block or held.strip(WHITESPACE):
                self._add_content(held)
            if self._call is not None or self._state is MarkupReader._block:
                events.append(MarkupAsText(cut_off=True))
            if self._block_has_calls and self._state is not MarkupReader._prose:
                self._writer.repair(Repair.CLOSING_TAG_MISSING)
        self._call = None
        self._state = MarkupReader._prose
        return events

    def _add_content(self, text: str) -> None:
        if text:
            self._after_block = False
            self._writer.events.append(ContentText(text))

    # Prose.

    def _prose(self) -> None:
        self._read_prose(OPENING_PREFIXES)

    def _tail(self) -> None:
        """Text after a block's calls: content up to the block's end."""
        self._read_prose(TAG_PREFIXES)

    def _read_prose(self, prefixes: frozenset[str]) -> None:
        """Read content up to a tag, of which these are the prefixes."""
        buffer = self._buffer
        text, start = buffer.text, buffer.position
        if not (start or "<" in text or text[-1] in WHITESPACE or buffer.is_holding):
            # The usual delta of prose: all of it is content.
            buffer.position = len(text)
            self._add_content(text)
            return
        end, tag = text.find(OPENING_TAG, start), OPENING_TAG
        if prefixes is TAG_PREFIXES:
            closing = text.find(CLOSING_TAG, start, end if end >= 0 else len(text))
            if closing >= 0:
                end, tag = closing, CLOSING_TAG
        found = end >= 0
        if not found:
            end = unfinished_tag(text, start, prefixes)
        content_end = start + len(text[start:end].rstrip(WHITESPACE))
        if content_end > start:
            buffer.hold(start)
            self._add_content(buffer.take(content_end))
        if content_end < end:
            buffer.hold(content_end)
        if not found:
            if end < len(text):
                buffer.wait(end)
            buffer.position = end
        elif tag is OPENING_TAG:
            buffer.hold(end)
            if self._state is MarkupReader._tail:
                self._writer.repair(Repair.CLOSING_TAG_MISSING)
            self._block_has_calls = self._in_array = False
            buffer.position = end + len(OPENING_TAG)
            self._state = MarkupReader._block
        else:
            if buffer.is_holding:
                self._add_content(buffer.take(end))
            buffer.position = end
            self._end_block()

    # A block, outside its objects.

    def _block(self) -> None:
        character = self._buffer.next_character()
        if character == "{":
            self._enter_object()
        elif character == "[" and not self._in_array:
            self._buffer.position += 1
            self._in_array = True
        elif character:
            self._read_tag_as_text()

    def _between_calls(self) -> None:
        """Skip separators and surplus closers, up to the next call or the block's end."""
        buffer = self._buffer
        match = _separator_run.match(buffer.text, buffer.position)
        assert match is not None
        buffer.position = match.end()
        separators = match[0]
        if "}" in separators or "]" in separators:
            self._count_closers(separators)
        character = buffer.text[buffer.position : buffer.position + 1]
        if character == "{":
            self._enter_object()
        elif character and buffer.is_at_tag():
            self._end_block()
        elif character and not buffer.wait_for_tag():
            self._writer.repair(Repair.TEXT_IN_BLOCK)
            self._enter_tail()

    def _count_closers(self, separators: str) -> None:
        if self._in_array and "]" in separators:
            self._in_array = False
            separators = separators.replace("]", "", 1)
        if "}" in separators or "]" in separators:
            self._writer.repair(Repair.BRACKET_TOO_MANY)

    def _enter_tail(self) -> None:
        self._in_array = False
        self._state = MarkupReader._tail

    def _end_block(self) -> None:
        """End the block at the tag at the position; an opening tag begins the next block."""
        buffer = self._buffer
        buffer.drop()
        self._after_block = True
        self._state = MarkupReader._prose
        if buffer.text.startswith(OPENING_TAG, buffer.position):
            self._writer.repair(Repair.CLOSING_TAG_MISSING)
        else:
            buffer.position += len(CLOSING_TAG)
        if self._in_array:
            self._writer.repair(Repair.BRACKET_MISSING)

    # Into an object and out of it.

    def _enter_object(self) -> None:
        repairs: tuple[Repair, ...] = ()
        if self._in_array:
            repairs = (Repair.ARRAY_OF_CALLS,)
        elif self._block_has_calls:
            repairs = (Repair.SEVERAL_IN_BLOCK,)
        self._call = CallParser(self._buffer, self._writer, repairs)
        self._state = MarkupReader._between_calls

    def _leave_object(self, call: CallParser, end: End) -> None:
        self._call = None
        if call.is_committed:
            self._block_has_calls = True
        if end == "next object":
            self._enter_object()
        elif end == "tag":
            self._end_block()
        elif end == "broken":
            self._give_up(call.is_committed)

    def _give_up(self, is_committed: bool) -> None:
        """Read on as text: this is not a call, or not the rest of one that ``is_committed``."""
        if not self._block_has_calls:
            self._read_tag_as_text()
            return
        if self._buffer.is_holding:
            self._add_content(self._buffer.take_stripped(self._buffer.position))
        if is_committed:
            self._writer.repair(Repair.TEXT_IN_BLOCK)
        else:
            self._writer.events.append(MarkupAsText(cut_off=False))
        self._enter_tail()

    def _read_tag_as_text(self) -> None:
        """The block's tag is content; restart after it."""
        buffer = self._buffer
        buffer.rewind()
        start = buffer.position
        buffer.position = buffer.text.index(OPENING_TAG, start) + len(OPENING_TAG)
        self._add_content(buffer.text[start : buffer.position])
        self._writer.events.append(MarkupAsText(cut_off=False))
        self._state = MarkupReader._prose
