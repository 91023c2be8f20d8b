"""What the markup reader tells: four kinds of event, data without behaviour.

Calls are numbered from 0 in the order of the output. The events of one call
are one :class:`CallStarted`, any number of :class:`ArgumentText`, and one
:class:`CallEnded` unless the output was cut off inside the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(slots=True)
class ContentText:
    """Text for the reader of the answer, verbatim."""

    text: str


@dataclass(slots=True)
class CallStarted:
    """A tool call exists, and this is its function's name."""

    index: int
    name: str


@dataclass(slots=True)
class ArgumentText:
    """The next piece of a call's arguments, in the model's own characters."""

    index: int
    text: str


@dataclass(slots=True)
class CallEnded:
    """A call's arguments are complete."""

    index: int


Event = Union[ContentText, CallStarted, ArgumentText, CallEnded]
