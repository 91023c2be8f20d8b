"""A whole output, accumulated from its events in time linear in its length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from midm_vllm.markup.events import ArgumentText, CallEnded, CallStarted, ContentText, Event


@dataclass
class Call:
    """One tool call so far; its arguments are the joined pieces."""

    name: str
    pieces: list[str] = field(default_factory=list)
    complete: bool = False

    @property
    def arguments(self) -> str:
        """The arguments, as the model wrote them."""
        return "".join(self.pieces)


@dataclass
class Output:
    """An output so far; its content is the joined pieces."""

    pieces: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def content(self) -> str:
        """The text outside of calls, verbatim."""
        return "".join(self.pieces)

    def add(self, events: Iterable[Event]) -> None:
        """Add the reader's next events."""
        for event in events:
            if isinstance(event, ContentText):
                self.pieces.append(event.text)
            elif isinstance(event, CallStarted):
                self.calls.append(Call(event.name))
            elif isinstance(event, ArgumentText):
                self.calls[event.index].pieces.append(event.text)
            elif isinstance(event, CallEnded):
                self.calls[event.index].complete = True
