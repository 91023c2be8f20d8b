"""Writes the events of one output: numbers calls, and reports repairs once."""

from __future__ import annotations

from midm_vllm.markup.events import CallEnded, CallRepaired, CallStarted, Event, Repair


class EventWriter:
    """Collects the events of a delta.

    Attributes:
        events: The events of the current delta.
        index: The number of the last call; -1 before the first one.
    """

    __slots__ = ("events", "index", "_repairs")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.index = -1
        # What has been reported of the last call.
        self._repairs: list[Repair] = []

    def start_call(self, name: str) -> None:
        """Begin the next call."""
        self.index += 1
        self._repairs = []
        self.events.append(CallStarted(self.index, name))

    def end_call(self) -> None:
        """The last call's arguments are complete."""
        self.events.append(CallEnded(self.index))

    def repair(self, repair: Repair) -> None:
        """Report a repair of the last call, unless it has been reported."""
        if repair not in self._repairs:
            self._repairs.append(repair)
            self.events.append(CallRepaired(self.index, repair))
