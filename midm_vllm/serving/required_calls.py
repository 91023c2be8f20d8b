"""Reads the answer to a request with ``tool_choice`` ``required`` or a named function.

Under the backend ``guidance`` the model is constrained to Mi:dm's markup. Under another one, vLLM
constrains it to JSON: a list of calls, or the arguments of the named function. Markup begins with
neither ``[`` nor ``{``.
"""

from __future__ import annotations

import json
from typing import Protocol

from midm_vllm.markup.events import ArgumentText, CallEnded, CallRepaired, CallStarted, Event
from midm_vllm.markup.reader import MarkupReader
from midm_vllm.markup.tags import OPENING_TAG
from midm_vllm.serving.requests.continuation import ContinuationReader


class Reader(Protocol):
    """Turns an output's text into events."""

    def feed(self, text: str) -> list[Event]:
        """Read the next text."""

    def finish(self) -> list[Event]:
        """The output has ended."""


class RequiredCallReader:
    """Reads markup or vLLM's JSON, whichever the model was constrained to.

    Args:
        name: The named function; None for ``required``.
    """

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._leading_space = ""
        self._reader: Reader | None = None

    def feed(self, text: str) -> list[Event]:
        """Read the next text."""
        if self._reader is not None:
            return self._reader.feed(text)
        text = self._leading_space + text
        stripped = text.lstrip()
        if not stripped:
            self._leading_space = text
            return []
        self._reader = self._choose(stripped[0])
        return self._reader.feed(text if isinstance(self._reader, MarkupReader) else stripped)

    def finish(self) -> list[Event]:
        """The output has ended."""
        if self._reader is None:
            self._reader = MarkupReader()
            return self._reader.feed(self._leading_space) + self._reader.finish()
        return self._reader.finish()

    def _choose(self, first: str) -> Reader:
        if first == "[" and self._name is None:
            return _CallList()
        if first == "{" and self._name is not None:
            return _Arguments(self._name)
        return MarkupReader()


class _CallList:
    """Reads ``[{"name": …, "parameters": {…}}, …]``, which is a repair to the markup reader."""

    def __init__(self) -> None:
        self._reader = ContinuationReader(OPENING_TAG)

    def feed(self, text: str) -> list[Event]:
        return self._without_repairs(self._reader.feed(text))

    def finish(self) -> list[Event]:
        return self._without_repairs(self._reader.finish())

    @staticmethod
    def _without_repairs(events: list[Event]) -> list[Event]:
        return [event for event in events if not isinstance(event, CallRepaired)]


class _Arguments:
    """Reads the arguments of the one function that the request names."""

    def __init__(self, name: str) -> None:
        self._events: list[Event] = [CallStarted(0, name)]
        self._pieces: list[str] = []

    def feed(self, text: str) -> list[Event]:
        if not text:
            return []
        self._pieces.append(text)
        events, self._events = [*self._events, ArgumentText(0, text)], []
        return events

    def finish(self) -> list[Event]:
        text, self._pieces = "".join(self._pieces), []
        return [CallEnded(0)] if _is_json(text) else []


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (RecursionError, ValueError):
        return False
    return True
