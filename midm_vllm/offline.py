"""Parses Mi:dm's output without a server: :func:`parse` and :func:`parse_stream`.

For output that does not come from vLLM's API server, such as that of ``LLM.chat``.
The parser is the server's (:mod:`midm_vllm.markup`); vLLM is not imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import partial_json_parser
from pydantic import BaseModel, computed_field

from midm_vllm.markup.accumulator import Call, Output
from midm_vllm.markup.reader import MarkupReader


class ParsedCall(BaseModel):
    """One tool call."""

    #: The function's name.
    name: str
    #: The arguments so far, as the model wrote them.
    arguments: str = ""
    #: Whether the arguments are complete. They never are if the output was cut off
    #: inside the call: do not run such a call.
    complete: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> Any:
        """The parsed arguments, or None if they are not JSON.

        Until they are complete, open strings, lists and objects are treated as
        closed, and the last number may still grow.
        """
        read = json.loads if self.complete else partial_json_parser.loads
        try:
            return read(self.arguments)
        except (ValueError, IndexError, RecursionError):
            return None


class ParsedOutput(BaseModel):
    """A model's output: its content, and its calls in order."""

    content: str = ""
    calls: list[ParsedCall] = []

    def to_openai(self) -> dict[str, Any]:
        """Return the OpenAI chat API's assistant message; call ids are positions."""
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


class OutputSoFar:
    """A :class:`ParsedOutput` of a stream so far, which is built when it is accessed.

    It has all attributes of ``ParsedOutput``, and does not change while the stream continues. It
    refers to the stream's text, so it costs little.
    """

    def __init__(self, output: Output) -> None:
        self._pieces, self._piece_count = output.pieces, len(output.pieces)
        self._calls, self._call_count = output.calls, len(output.calls)
        # Earlier calls are final once the next one has begun.
        last = output.calls[-1] if output.calls else None
        self._last_count = len(last.pieces) if last else 0
        self._last_complete = last.complete if last else False

    @cached_property
    def content(self) -> str:
        """The text outside of calls so far."""
        return "".join(self._pieces[: self._piece_count])

    @cached_property
    def calls(self) -> list[ParsedCall]:
        """The calls so far; only the last one may still grow."""
        if not self._call_count:
            return []
        last = self._calls[self._call_count - 1]
        return [
            *(_parsed_call(call) for call in self._calls[: self._call_count - 1]),
            ParsedCall(
                name=last.name,
                arguments="".join(last.pieces[: self._last_count]),
                complete=self._last_complete,
            ),
        ]

    @cached_property
    def parsed(self) -> ParsedOutput:
        """The output so far as a pydantic model."""
        return ParsedOutput.model_construct(content=self.content, calls=self.calls)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # An unfinished copy has nothing to parse.
            raise AttributeError(name)
        return getattr(self.parsed, name)

    def __eq__(self, other: object) -> bool:
        return self.parsed == (other.parsed if isinstance(other, OutputSoFar) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.parsed)


def parse(text: str) -> ParsedOutput:
    """Parse a whole output. Every text has a result; none raises.

    >>> output = parse('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    >>> output.calls[0].name, output.calls[0].value
    ('add', {'a': 1})
    """
    reader, output = MarkupReader(), Output()
    output.add(reader.feed(text) + reader.finish())
    return ParsedOutput(content=output.content, calls=[_parsed_call(call) for call in output.calls])


def parse_stream(deltas: Iterable[str]) -> Iterator[OutputSoFar]:
    """Parse an output as it arrives, however it is cut into deltas.

    The time for a delta depends on its own length alone.

    Args:
        deltas: The output's pieces, in order.

    Yields:
        The output so far after each delta, and once more at the end; the last one
        equals :func:`parse` of the whole text.

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
        yield OutputSoFar(output)
    output.add(reader.finish())
    yield OutputSoFar(output)


def _parsed_call(call: Call) -> ParsedCall:
    return ParsedCall(name=call.name, arguments=call.arguments, complete=call.complete)
