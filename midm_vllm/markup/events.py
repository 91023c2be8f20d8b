"""What the markup reader tells: data without behaviour.

Calls are numbered from 0 in the order of the output. The events of one call
are one :class:`CallStarted`, any number of :class:`ArgumentText`, and one
:class:`CallEnded` unless the output was cut off inside the call.

These four make the answer. Two more say where the model did not write what it was
taught, one call in a block, ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``:
:class:`CallRepaired`, at most one of a kind for a call, anywhere behind its start, and
:class:`MarkupAsText`. How the output is cut into deltas makes no difference to them either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
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


class Repair(str, Enum):
    """What the model wrote otherwise than it was taught, and was read as a call all the same."""

    #: No closing tag before the next block, or before the output's end.
    CLOSING_TAG_MISSING = "closing_tag_missing"
    #: The tag or the next call came with brackets still open: the arguments', the call's, the
    #: array's. Those of the arguments have been added.
    BRACKET_MISSING = "bracket_missing"
    #: Closing brackets behind the call that close nothing.
    BRACKET_TOO_MANY = "bracket_too_many"
    #: A comma, and no member behind it.
    TRAILING_COMMA = "trailing_comma"
    #: The arguments stand under the key ``parameters``, as in Mi:dm's conversation history.
    PARAMETERS_KEY = "parameters_key"
    #: The arguments are a string that holds JSON.
    ARGUMENTS_AS_TEXT = "arguments_as_text"
    #: No arguments, ``null``, or an empty string: ``{}`` instead.
    ARGUMENTS_MISSING = "arguments_missing"
    #: A second name, or second arguments. A call that is certain keeps its first ones.
    MEMBER_REPEATED = "member_repeated"
    #: The call is not the first of its block, as in Mi:dm's conversation history.
    SEVERAL_IN_BLOCK = "several_in_block"
    #: The call stands in a JSON array.
    ARRAY_OF_CALLS = "array_of_calls"
    #: Text in the block, behind the call.
    TEXT_IN_BLOCK = "text_in_block"


@dataclass(slots=True)
class CallRepaired:
    """A call is not written as the model was taught."""

    index: int
    repair: Repair


@dataclass(slots=True)
class MarkupAsText:
    """What began as a call proved to be none, and is content.

    ``cut_off`` says that the output's end alone decided so: it might have become one.
    """

    cut_off: bool


Event = Union[ContentText, CallStarted, ArgumentText, CallEnded, CallRepaired, MarkupAsText]
