"""The events of the markup reader: data without behaviour.

Calls are numbered from 0 in the order of the output. The events of one call
are one :class:`CallStarted`, any number of :class:`ArgumentText`, and one
:class:`CallEnded` unless the output was cut off inside the call.

These three and :class:`ContentText` make the answer. Two more report where the model
departed from the form it was trained on, one call in a block,
``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``: :class:`CallRepaired`, after
the call's start and at most once per call and kind, and :class:`MarkupAsText`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Union


@dataclass(slots=True)
class ContentText:
    """Text outside of calls, verbatim."""

    text: str


@dataclass(slots=True)
class CallStarted:
    """A tool call, and its function's name."""

    index: int
    name: str


@dataclass(slots=True)
class ArgumentText:
    """The next piece of a call's arguments, as the model wrote it."""

    index: int
    text: str


@dataclass(slots=True)
class CallEnded:
    """A call's arguments are complete."""

    index: int


class Repair(str, Enum):
    """How a call departs from the form that the model was trained on."""

    #: No closing tag before the next block, or before the output's end.
    CLOSING_TAG_MISSING = "closing_tag_missing"
    #: The tag or the next call came with brackets still open. Those of the arguments were added.
    BRACKET_MISSING = "bracket_missing"
    #: Unmatched closing brackets after the call.
    BRACKET_TOO_MANY = "bracket_too_many"
    #: A comma without a member after it.
    TRAILING_COMMA = "trailing_comma"
    #: The arguments have the key ``parameters``, as in Mi:dm's conversation history.
    PARAMETERS_KEY = "parameters_key"
    #: The arguments are a string that contains JSON.
    ARGUMENTS_AS_TEXT = "arguments_as_text"
    #: No arguments, ``null``, or an empty string: ``{}`` instead.
    ARGUMENTS_MISSING = "arguments_missing"
    #: A second name, or second arguments. A committed call keeps its first ones.
    MEMBER_REPEATED = "member_repeated"
    #: The call is not the first of its block, as in Mi:dm's conversation history.
    SEVERAL_IN_BLOCK = "several_in_block"
    #: The call is in a JSON array.
    ARRAY_OF_CALLS = "array_of_calls"
    #: Text in the block after the call.
    TEXT_IN_BLOCK = "text_in_block"


@dataclass(slots=True)
class CallRepaired:
    """A call departs from the form that the model was trained on."""

    index: int
    repair: Repair


@dataclass(slots=True)
class MarkupAsText:
    """What began as a call is not one, and is content.

    Attributes:
        cut_off: Whether only the output's end decided so: it might have become a call.
    """

    cut_off: bool


Event = Union[ContentText, CallStarted, ArgumentText, CallEnded, CallRepaired, MarkupAsText]
