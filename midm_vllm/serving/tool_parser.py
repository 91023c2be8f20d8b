"""``midm-parser``: vLLM's tool parser for Mi:dm, a thin user of the markup reader.

Implements ``vllm.tool_parsers.abstract_tool_parser.ToolParser``. vLLM makes one
parser for each choice of each request, calls it with every delta of a stream
or once with the whole output, and never concurrently.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from midm_vllm.compat.vllm_layout import (
    ChatCompletionRequest,
    DeltaMessage,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
    ToolParser,
)
from midm_vllm.markup.events import ArgumentText, CallStarted, ContentText, Event
from midm_vllm.markup.output import read_output
from midm_vllm.markup.reader import MarkupReader
from midm_vllm.names import STRUCTURAL_TAG_MODEL
from midm_vllm.serving.continued_call import ContinuingReader, begun_call

if hasattr(ToolParser, "engine_based_streaming"):  # From 0.24 vLLM asks for a grammar.
    # Half a second that no request should wait.
    import midm_vllm.constrained.structural_tag  # noqa: F401


class MidmToolParser(ToolParser):
    """Reads Mi:dm's tool calls, streamed and one-shot, through one reader.

    The arguments that reach the client are the model's own characters. Text
    that is no call is content; where the request offers no tools or chooses
    ``none``, all text is.
    """

    #: The grammar that vLLM constrains the output with (from 0.24).
    structural_tag_model = STRUCTURAL_TAG_MODEL
    #: vLLM keeps no text for us and calls :meth:`finish_streaming` (from 0.24).
    engine_based_streaming = True

    def __init__(self, tokenizer: Any, *tools: Any) -> None:
        super().__init__(tokenizer, *tools)
        # Without grammars (VLLM_ENFORCE_STRICT_TOOL_CALLING=0) vLLM reads required
        # and named calls itself, from the text so far, which it has to keep then.
        self.engine_based_streaming = not getattr(self, "supports_required_and_named", True)
        self._reader = MarkupReader()
        self._reads_calls = False
        self._final_events: list[Event] = []

    def adjust_request(self, request: Any) -> Any:
        """Keep special tokens in the text: a checkpoint may mark the tags special."""
        if getattr(request.tool_choice, "type", None) == "allowed_tools":
            self._allow_tools(request)
        request = super().adjust_request(request)
        if wants_calls(request):
            request.skip_special_tokens = False
        return request

    def _allow_tools(self, request: Any) -> None:
        """Do for a choice of allowed tools what vLLM does for the other choices.

        vLLM (seen in 0.32, Responses) accepts the choice, but constrains
        nothing and leaves the calls of an answer at once in its text.
        """
        from midm_vllm.compat.vllm_layout import StructuredOutputsParams  # Not in all releases.

        tag = self.get_structural_tag(request)
        if tag is not None:
            request.structured_outputs = StructuredOutputsParams(
                structural_tag=json.dumps(tag.model_dump())
            )
            request.text = None
        request.tool_choice = request.tool_choice.mode

    def get_structural_tag(self, request: Any, **options: Any) -> Any:
        """The grammar of the answer, or None for none (asked for from vLLM 0.24 on).

        Where the request demands a call, its arguments are held to the tool's
        schema, unless the tool says ``strict: false``. vLLM alone would want a
        ``strict: true``, so that ``required`` would guarantee less than it did
        without structural tags. Raises ValueError for a schema that cannot be
        enforced, which vLLM answers with 400.
        """
        if request.tool_choice != "auto":
            tools = [_strict_by_default(tool) for tool in request.tools]
            request = request.model_copy(update={"tools": tools})
        tag = super().get_structural_tag(request, **options)
        if request.parallel_tool_calls is False and hasattr(tag, "format"):
            tag.format.stop_after_first = True  # To 0.31 vLLM does not do it.
        return tag

    def extract_tool_calls(
        self, model_output: str, request: ChatCompletionRequest
    ) -> ExtractedToolCallInformation:
        """Read a whole output."""
        if not wants_calls(request):
            return ExtractedToolCallInformation(
                tools_called=False, tool_calls=[], content=model_output
            )
        output = read_output(model_output, _reader_for(request))
        return ExtractedToolCallInformation(
            tools_called=bool(output.calls),
            tool_calls=[
                ToolCall(function=FunctionCall(name=call.name, arguments=call.arguments))
                for call in output.calls
            ],
            content=output.content or None,
        )

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: ChatCompletionRequest,
    ) -> DeltaMessage | None:
        """Read the next delta; ``None`` where nothing of it can be sent yet."""
        if not self._reads_calls:
            if not wants_calls(request):
                return DeltaMessage(content=delta_text) if delta_text else None
            self._reads_calls = True
            self._reader = _reader_for(request)
            self.engine_based_streaming = True  # So that the end of the stream is told.
        return delta_message(self._reader.feed(delta_text))

    def get_remaining_unstreamed_args(self) -> str:
        """Arguments held back at the end of the stream.

        vLLM adds them to the call in the last delta, if there is one, and
        then calls :meth:`finish_streaming`, so they make no entry of their own.
        """
        events = self._reader.finish()
        self._final_events = [event for event in events if not isinstance(event, ArgumentText)]
        return "".join(event.text for event in events if isinstance(event, ArgumentText))

    def finish_streaming(self) -> DeltaMessage | None:
        """What was held back and has not been sent, once the stream has ended."""
        return delta_message(self._final_events + self._reader.finish())


def wants_calls(request: ChatCompletionRequest | None) -> bool:
    """Whether calls are read at all; offline there may be no request to ask."""
    return request is None or (bool(request.tools) and request.tool_choice != "none")


def _reader_for(request: Any) -> MarkupReader:
    begun = begun_call(request)
    return ContinuingReader(begun) if begun else MarkupReader()


def _strict_by_default(tool: Any) -> Any:
    """The tool (of Chat Completions or of Responses), strict if it does not say otherwise."""
    function = getattr(tool, "function", tool)
    if getattr(function, "strict", False) is not None:
        return tool
    function = function.model_copy(update={"strict": True})
    return tool.model_copy(update={"function": function}) if hasattr(tool, "function") else function


def delta_message(events: list[Event]) -> DeltaMessage | None:
    """The events of one delta as vLLM's message, with one entry for each call."""
    # A delta may be long, so its pieces are joined once.
    content: list[str] = []
    # Plain data, which pydantic turns into one message faster than it builds three objects.
    calls: list[Any] = []
    pieces: list[list[str]] = []
    for event in events:
        if isinstance(event, ArgumentText):
            if not calls or calls[-1]["index"] != event.index:
                calls.append({"index": event.index, "function": {}})
                pieces.append([])
            pieces[-1].append(event.text)
        elif isinstance(event, ContentText):
            content.append(event.text)
        elif isinstance(event, CallStarted):
            calls.append({
                "index": event.index,
                "id": f"chatcmpl-tool-{uuid4().hex}",
                "type": "function",
                "function": {"name": event.name},
            })
            pieces.append([])
    for call, arguments in zip(calls, pieces):
        if arguments:
            call["function"]["arguments"] = "".join(arguments)
    # Fields that are not set are not sent.
    if calls:
        return DeltaMessage(content="".join(content), tool_calls=calls) if content else (
            DeltaMessage(tool_calls=calls)
        )
    return DeltaMessage(content="".join(content)) if content else None
