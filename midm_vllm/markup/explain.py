"""Explains how each piece of an output was read.

Every character of the output is in exactly one :class:`Piece`. The text is fed to
:class:`~midm_vllm.markup.reader.MarkupReader` character by character. The events of
a character, and what is no longer held after it, show how the text was read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from midm_vllm.markup.accumulator import Output
from midm_vllm.markup.events import (
    ArgumentText,
    CallEnded,
    CallRepaired,
    CallStarted,
    ContentText,
    Event,
    MarkupAsText,
    Repair,
)
from midm_vllm.markup.reader import MarkupReader


class ReadAs(str, Enum):
    """What a piece of the output becomes in the answer."""

    #: Content, verbatim.
    TEXT = "text"
    #: Content that began as a call.
    MARKUP_AS_TEXT = "markup_as_text"
    #: Tags, objects around arguments, whitespace next to a block: not in the answer.
    MARKUP = "markup"
    #: A call's arguments, as the model wrote them, even if they are decoded in the answer.
    ARGUMENTS = "arguments"


@dataclass
class Piece:
    """A part of the output.

    Attributes:
        read_as: What it becomes.
        text: Its text.
        call: The index of the call that it belongs to or follows; None for content.
    """

    read_as: ReadAs
    text: str
    call: int | None = None


@dataclass
class ExplainedCall:
    """A call, and how it departs from the form that the model was trained on.

    Attributes:
        added: What was appended to the arguments.
    """

    name: str
    arguments: str = ""
    complete: bool = False
    repairs: list[Repair] = field(default_factory=list)
    added: str = ""


@dataclass
class Explanation:
    """An output's pieces, in order, and its calls."""

    pieces: list[Piece] = field(default_factory=list)
    calls: list[ExplainedCall] = field(default_factory=list)
    #: How many texts began as a call, and how many of them the output's end cut off.
    markup_as_text: int = 0
    cut_off_as_text: int = 0


def explain(text: str) -> Explanation:
    """Read a whole output, and explain how each piece was read.

    Every text has an explanation. The time is linear: some microseconds per character.
    """
    return _Explainer().read(text)


class _Explainer:
    def __init__(self) -> None:
        self._reader = MarkupReader()
        self._explanation = Explanation()
        self._output = Output()
        # Characters that the reader holds back.
        self._pending: list[str] = []
        self._parts: list[tuple[ReadAs, int | None, list[str]]] = []

    def read(self, text: str) -> Explanation:
        for character in text:
            events = self._reader.feed(character)
            self._pending.append(character)
            if events or self._reader.held_length < len(self._pending):
                self._settle(events, self._reader.held_length)
        self._settle(self._reader.finish(), 0)
        self._explanation.pieces = [
            Piece(read_as, "".join(texts), call) for read_as, call, texts in self._parts
        ]
        for call, read in zip(self._explanation.calls, self._output.calls):
            call.arguments, call.complete = read.arguments, read.complete
        return self._explanation

    def _settle(self, events: list[Event], held: int) -> None:
        """Classify what is no longer held: as the events say, and as markup without one."""
        self._output.add(events)
        settled = len(self._pending) - held
        text = "".join(self._pending[:settled])
        del self._pending[:settled]
        arguments, begins = "", False
        for number, event in enumerate(events):
            following = events[number + 1 : number + 3]
            if isinstance(event, ContentText):
                before, found, text = text.partition(event.text)
                assert found, "content is the output's own text"
                self._add(ReadAs.MARKUP, before)
                is_markup = any(isinstance(each, MarkupAsText) for each in following[:1])
                self._add(ReadAs.MARKUP_AS_TEXT if is_markup else ReadAs.TEXT, event.text)
            elif isinstance(event, ArgumentText):
                if self._is_added(events[:number], following):
                    self._explanation.calls[-1].added += event.text
                else:
                    arguments += event.text
            elif isinstance(event, CallStarted):
                begins = True
            self._note(event)
        if arguments:
            text = self._add_arguments(text, arguments, begins)
        self._add(ReadAs.MARKUP, text)

    def _is_added(self, before: list[Event], following: list[Event]) -> bool:
        """Whether arguments between these events were added: missing ones, or closers."""
        index = len(self._explanation.calls) - 1
        missing = CallRepaired(index, Repair.ARGUMENTS_MISSING)
        closers = [CallEnded(index), CallRepaired(index, Repair.BRACKET_MISSING)]
        return before[-1:] == [missing] or following == closers

    def _add_arguments(self, text: str, arguments: str, begins: bool) -> str:
        """Add ``text`` up to the end of the arguments in it; returns the rest."""
        if begins and text.endswith(arguments):
            start = len(text) - len(arguments)
        else:
            start = text.find(arguments)
        if start < 0 and begins:  # Decoded, and before the name: cannot be located.
            return text
        end = len(text) if start < 0 else start + len(arguments)
        self._add(ReadAs.MARKUP, text[: max(start, 0)])
        self._add(ReadAs.ARGUMENTS, text[max(start, 0) : end])
        return text[end:]

    def _note(self, event: Event) -> None:
        calls = self._explanation.calls
        if isinstance(event, CallStarted):
            calls.append(ExplainedCall(event.name))
        elif isinstance(event, CallRepaired):
            calls[-1].repairs.append(event.repair)
        elif isinstance(event, MarkupAsText):
            self._explanation.markup_as_text += 1
            self._explanation.cut_off_as_text += event.cut_off

    def _add(self, read_as: ReadAs, text: str) -> None:
        if not text:
            return
        is_content = read_as in (ReadAs.TEXT, ReadAs.MARKUP_AS_TEXT)
        call = None if is_content else len(self._explanation.calls) - 1
        call = None if call == -1 else call
        if self._parts and self._parts[-1][:2] == (read_as, call):
            self._parts[-1][2].append(text)
        else:
            self._parts.append((read_as, call, [text]))
