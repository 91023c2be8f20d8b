"""Mi:dm's output as data, without a server: :func:`parse` and :func:`parse_stream`.

For output that comes from elsewhere than vLLM's API server, ``LLM.chat`` for
instance. The reading is the server's (:mod:`midm_vllm.markup`); vLLM is neither
needed nor imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import partial_json_parser
from pydantic import BaseModel, computed_field

from midm_vllm.markup.output import Output, read_output
from midm_vllm.markup.reader import MarkupReader


class ParsedCall(BaseModel):
    """One tool call."""

    #: The function's name.
    name: str
    #: The arguments, in the model's own characters; so far, while they arrive.
    arguments: str = ""
    #: Whether the arguments are all there. Where the output was cut off inside
    #: the call they never are: do not run such a call.
    complete: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> Any:
        """The parsed arguments, or None if they are no JSON.

        While they arrive, what they come to so far: open strings, lists and
        objects are taken as closed where they end, and a number may still grow.
        """
        read = json.loads if self.complete else partial_json_parser.loads
        try:
            return read(self.arguments)
        except (ValueError, IndexError, RecursionError):
            return None


class ParsedOutput(BaseModel):
    """A model's output: what it says, and the calls it makes, in their order."""

    content: str = ""
    calls: list[ParsedCall] = []

    def to_openai(self) -> dict[str, Any]:
        """The output as the OpenAI chat API's assistant message, call ids by position."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content or None}
        if self.calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{index}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for index, call in enumerate(self.calls)
            ]
        return message


def parse(text: str) -> ParsedOutput:
    """Read a whole output. Total: every text has a result, and none raises.

    >>> output = parse('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    >>> output.calls[0].name, output.calls[0].value
    ('add', {'a': 1})
    """
    return _parsed(read_output(text))


def parse_stream(deltas: Iterable[str]) -> Iterator[ParsedOutput]:
    """Read an output as it arrives, however it is cut into deltas.

    Yields the output so far after each delta, and once more when the stream
    has ended; that last one is what :func:`parse` makes of the whole text.

    >>> for output in parse_stream(['<tool_call>{"name": "say", "arguments": {"to": "Kim', '"}}']):
    ...     print(output.calls[0].value, output.calls[0].complete)
    {'to': 'Kim'} False
    {'to': 'Kim'} True
    {'to': 'Kim'} True
    """
    reader = MarkupReader()
    output = Output()
    for delta in deltas:
        output.add(reader.feed(delta))
        yield _parsed(output)
    output.add(reader.finish())
    yield _parsed(output)


def _parsed(output: Output) -> ParsedOutput:
    return ParsedOutput(
        content=output.content,
        calls=[
            ParsedCall(name=call.name, arguments=call.arguments, complete=call.complete)
            for call in output.calls
        ],
    )
