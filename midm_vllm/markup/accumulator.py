"""A whole output, added up from its events in time linear in its length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from midm_vllm.markup.events import ArgumentText, CallEnded, CallStarted, ContentText, Event
from midm_vllm.markup.reader import MarkupReader


@dataclass
class Call:
    """One tool call so far: its arguments are the pieces, joined."""

    name: str
    pieces: list[str] = field(default_factory=list)
    complete: bool = False

    @property
    def arguments(self) -> str:
        """The arguments, in the model's own characters."""
        return "".join(self.pieces)


@dataclass
class Output:
    """What the events so far come to: the content is the pieces, joined."""

    pieces: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def content(self) -> str:
        """The text that is no call, verbatim."""
        return "".join(self.pieces)

    def add(self, events: Iterable[Event]) -> None:
        """Add what the reader tells next."""
        for event in events:
            if isinstance(event, ContentText):
                self.pieces.append(event.text)
            elif isinstance(event, CallStarted):
                self.calls.append(Call(event.name))
            elif isinstance(event, ArgumentText):
                self.calls[event.index].pieces.append(event.text)
            elif isinstance(event, CallEnded):
                self.calls[event.index].complete = True


def read_output(text: str, reader: MarkupReader | None = None) -> Output:
    """Read a whole output. Total: every text has a result, and none raises.

    ``reader`` is one that has read nothing yet; without one, a plain one.
    """
    reader = reader or MarkupReader()
    output = Output()
    output.add(reader.feed(text))
    output.add(reader.finish())
    return output
