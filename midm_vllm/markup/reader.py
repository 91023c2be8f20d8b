"""The reader of Mi:dm's tool-call markup: text in, events out.

Mi:dm writes its calls as JSON objects between ``<tool_call>`` and
``</tool_call>``, one or several to a block, with prose around the blocks:

    output = *( prose / block )
    block  = "<tool_call>" ws calls ws [ "</tool_call>" ]
    calls  = call *( ws [","] ws call )   or   "[" ws [ call *( ws "," ws call ) ] ws "]"
    call   = a JSON object with a string member "name"
             and at most one of "arguments" and "parameters"

Prose and blocks are read here, the object of one call in :mod:`call_parser`; what
is held of the text meanwhile is in :mod:`text_buffer`. Everything that decides what
is a call and what is text is in these two readers, and nothing else is: no vLLM,
no I/O. One method per state reads the delta from one interesting character to the
next. Text that looked like a call and proves to be none is content: after the tag
of a block without calls, reading starts again.

Every character is read at most a constant number of times. Starting again
keeps that promise because of one rule: before a call is certain, a backslash
outside a string breaks its JSON. Of two overlapping attempts, then, one is
inside a string exactly where the other is outside, so the next tag ends one of
them, and no character ever belongs to three.
"""

from __future__ import annotations

import re

from midm_vllm.markup.call_parser import CallObject
from midm_vllm.markup.events import Event, MarkupAsText, Repair
from midm_vllm.markup.tags import CLOSING_TAG, OPENING_TAG, WHITESPACE, unfinished_tag

_separator_run = re.compile(r"[ \t\n\r,}\]]*")


class MarkupReader(CallObject):
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

    def __init__(self) -> None:
        super().__init__()
        self._state = MarkupReader._prose
        self._index = -1
        self._block_has_calls = False
        self._in_array = False
        self._repairs = []
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
        if self._state is MarkupReader._prose and not (self._held or self._carry):
            return events  # So do most outputs end, and they are asked twice.
        if self._committed:
            # Cut off inside a call. Behind the arguments only markup was held.
            if not self._arguments_ended:
                self._argument(self._carry)
            else:
                self._repair(Repair.BRACKET_MISSING)
                self._repair(Repair.CLOSING_TAG_MISSING)
        elif self._state is MarkupReader._between_calls:
            # A closing tag that was cut off is as little content as a whole one.
            if not CLOSING_TAG.startswith(self._carry):
                self._content(self._carry)
                self._repair(Repair.TEXT_IN_BLOCK)
            elif self._in_array:
                self._repair(Repair.BRACKET_MISSING)
            self._repair(Repair.CLOSING_TAG_MISSING)
        else:
            text = "".join(self._held) + self._carry
            if not (self._after_block and not text.strip(WHITESPACE)):
                self._content(text)
            if self._state is not MarkupReader._prose:
                if self._state is not MarkupReader._tail:
                    events.append(MarkupAsText(cut_off=True))
                if self._block_has_calls:
                    self._repair(Repair.CLOSING_TAG_MISSING)
        self._drop_held()
        self._carry = ""
        self._committed = False
        self._state = MarkupReader._prose
        return events

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
            end = unfinished_tag(text, start, *tags)
        content_end = start + len(text[start:end].rstrip(WHITESPACE))
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
            if self._state is MarkupReader._tail:
                self._repair(Repair.CLOSING_TAG_MISSING)
            self._block_has_calls = self._in_array = False
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
            self._in_array = True
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
        assert match is not None
        self._position = match.end()
        separators = match[0]
        if "}" in separators or "]" in separators:
            self._count_closers(separators)
        character = self._text[self._position : self._position + 1]
        if character == "{":
            self._enter_object()
        elif character and not self._at_tag(self._end_block):
            self._repair(Repair.TEXT_IN_BLOCK)
            self._enter_tail()

    def _count_closers(self, separators: str) -> None:
        if self._in_array and "]" in separators:
            self._in_array = False
            separators = separators.replace("]", "", 1)
        if "}" in separators or "]" in separators:
            self._repair(Repair.BRACKET_TOO_MANY)

    def _enter_tail(self) -> None:
        self._in_array = False
        self._state = MarkupReader._tail

    def _leave_object(self) -> None:
        self._state = MarkupReader._between_calls

    def _end_block(self, tag: int) -> None:
        """The block ends at the tag at ``tag``; an opening one is read as the next."""
        self._drop_held()
        self._committed = False
        self._after_block = True
        self._state = MarkupReader._prose
        opens = self._text.startswith(OPENING_TAG, tag)
        if opens:
            self._repair(Repair.CLOSING_TAG_MISSING)
        if self._in_array:
            self._repair(Repair.BRACKET_MISSING)
        self._position = tag if opens else tag + len(CLOSING_TAG)

    def _give_up(self) -> None:
        """What stands here cannot be (the rest of) a call."""
        if self._block_has_calls:
            if self._held_from is not None:
                self._release_text(self._position)
            if self._committed:
                self._repair(Repair.TEXT_IN_BLOCK)
            else:
                self._events.append(MarkupAsText(cut_off=False))
            self._committed = False
            self._enter_tail()
            return
        # The tag was prose, and so, perhaps, is what stands behind it.
        start = self._held_from or 0
        if self._held:
            self._text = "".join(self._held) + self._text
        self._position = self._text.index(OPENING_TAG, start) + len(OPENING_TAG)
        self._content(self._text[start : self._position])
        self._events.append(MarkupAsText(cut_off=False))
        self._drop_held()
        self._state = MarkupReader._prose
