"""``midm-parser``: vLLM's tool parser for Mi:dm, a thin user of the markup reader.

Implements ``vllm.tool_parsers.abstract_tool_parser.ToolParser``. vLLM makes one
parser for each choice of each request, calls it with every delta of a stream
or once with the whole output, and never concurrently.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import Any

from midm_vllm.compat import patching
from midm_vllm.compat.capabilities import has
from midm_vllm.compat.vllm_imports import (
    ChatCompletionRequest,
    DeltaMessage,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
    ToolParser,
)
from midm_vllm.markup.events import ArgumentText, CallStarted, ContentText, Event
from midm_vllm.markup.accumulator import Output
from midm_vllm.markup.reader import MarkupReader
from midm_vllm.constants import GRAMMAR_BACKEND, STRUCTURAL_TAG_MODEL
from midm_vllm.serving.requests.continuation import ContinuationReader, partial_call
from midm_vllm.serving.required_calls import RequiredCallReader, Reader
from midm_vllm.serving.metrics import OutputTally
from midm_vllm.serving.requests.tool_choice import named_function, read_tool_choice

patching.check_required()
_SENDS_GRAMMARS = has("parser grammars")
if _SENDS_GRAMMARS:
    # A tenth of a second that no request should wait.
    import midm_vllm.serving.constraints.request_grammar  # noqa: F401
    from midm_vllm.serving.constraints import grammar_backend

    grammar_backend.choose()


class MidmToolParser(ToolParser):
    """Reads Mi:dm's tool calls, streaming and non-streaming, through one reader.

    The arguments that reach the client are the model's own characters. Text
    that is no call is content; where the request offers no tools or chooses
    ``none``, all text is.
    """

    #: The grammar that vLLM constrains the output with (from 0.24).
    structural_tag_model = STRUCTURAL_TAG_MODEL
    #: vLLM keeps no text for us and calls :meth:`finish_streaming` (from 0.24). It reads this once,
    #: when it makes the parser, before it knows the request.
    engine_based_streaming = True

    def __init__(self, tokenizer: Any, *tools: Any) -> None:
        super().__init__(tokenizer, *tools)
        if _SENDS_GRAMMARS:
            # True with VLLM_ENFORCE_STRICT_TOOL_CALLING=0.
            self._is_unconstrained = bool(self.supports_required_and_named)
            # Required and named calls are read here, whatever they are constrained by.
            self.supports_required_and_named = False
        self._strict_level = 0
        self._reader: Reader = MarkupReader()
        #: Of the stream, from its first delta on, if calls are read in it.
        self._tally: OutputTally | None = None
        self._final_events: list[Event] = []

    def adjust_request(self, request: Any) -> Any:
        """Constrain the answer, and keep special tokens in the text: the tags may be some.

        Raises ValueError, which vLLM answers with 400, for a strict tool whose arguments cannot be
        constrained to its schema.
        """
        if not wants_calls(request):
            return request
        if not _SENDS_GRAMMARS:
            request = super().adjust_request(request)
        elif not self._constrain(request):
            request = self._constrain_by_json(request)
        if wants_calls(request):
            request.skip_special_tokens = False
        return request

    def _constrain(self, request: Any) -> bool:
        """Constrain the answer by a grammar; False where vLLM may constrain it."""
        from midm_vllm.compat.vllm_imports import StructuredOutputsParams  # Not in all releases.
        from midm_vllm.serving.constraints.grammar_prefetch import grammar_of
        from midm_vllm.serving.constraints.request_grammar import reject_strict

        choice = read_tool_choice(request)
        grammar = None
        if not self._is_unconstrained:
            if grammar_backend.configured_backend() == GRAMMAR_BACKEND:
                grammar = grammar_of(request, choice, self._strict_level, self.model_tokenizer)
            else:
                reject_strict(choice)
        if getattr(request.tool_choice, "type", None) == "allowed_tools":
            # vLLM (seen in 0.32, Responses) accepts the choice, but leaves the calls of a complete
            # answer in its text.
            request.tool_choice = request.tool_choice.mode if choice.tools else "none"
        if grammar is None:
            return False
        request.structured_outputs = StructuredOutputsParams(grammar=grammar)
        # The grammar has the answer's format in it, which would win over the grammar.
        setattr(request, "text" if hasattr(request, "text") else "response_format", None)
        return True

    def _constrain_by_json(self, request: Any) -> Any:
        """Have vLLM write its JSON schema for required and named calls."""
        self.supports_required_and_named = True  # From 0.32 it writes none without.
        try:
            return super().adjust_request(request)
        finally:
            self.supports_required_and_named = False

    def get_structural_tag(self, request: Any, **options: Any) -> None:
        """No structural tag: the grammar is set in :meth:`adjust_request`, for calls and formats.

        vLLM (from 0.24) calls this just before, with the server's strict level.
        """
        self._strict_level = int(options.get("strict_level") or 0)

    def extract_tool_calls(
        self, model_output: str, request: ChatCompletionRequest
    ) -> ExtractedToolCallInformation:
        """Read a whole output."""
        if not wants_calls(request):
            return ExtractedToolCallInformation(
                tools_called=False, tool_calls=[], content=model_output
            )
        reader, output, tally = reader_for(request), Output(), OutputTally(request)
        events = reader.feed(model_output) + reader.finish()
        output.add(events)
        if tally.log is not None:
            tally.log.keep(model_output)
        tally.finish(events)
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
        tally = self._tally
        if tally is None:
            if not wants_calls(request):
                return DeltaMessage(content=delta_text) if delta_text else None
            self._reader = reader_for(request)
            tally = self._tally = OutputTally(request)
        events = self._reader.feed(delta_text)
        if tally.log is not None:
            tally.log.keep(delta_text)
        if len(events) == 1:  # Most deltas are a piece of arguments, or of content.
            event = events[0]
            if type(event) is ArgumentText:
                text = event.text
                tally.arguments.append(text)
                call: Any = {"index": event.index, "function": {"arguments": text}}
                return DeltaMessage(tool_calls=[call])
            if type(event) is ContentText:
                return DeltaMessage(content=event.text)
        if events:
            tally.add(events)
        return delta_message(events)

    def get_remaining_unstreamed_args(self) -> str:
        """Arguments that are still buffered at the end of the stream.

        vLLM adds them to the call in the last delta, if there is one, and
        then calls :meth:`finish_streaming`, so they make no entry of their own.
        """
        events = self._reader.finish()
        if not events:
            return ""
        if self._tally is not None:
            self._tally.add(events)
        self._final_events = [event for event in events if not isinstance(event, ArgumentText)]
        return "".join(event.text for event in events if isinstance(event, ArgumentText))

    def finish_streaming(self) -> DeltaMessage | None:
        """The last delta: what was buffered when the stream ended."""
        events = self._reader.finish()
        if self._tally is not None:
            self._tally.finish(events)
        return delta_message(self._final_events + events)


def wants_calls(request: ChatCompletionRequest | None) -> bool:
    """Whether calls are read at all; offline there may be no request to ask."""
    return request is None or (bool(request.tools) and request.tool_choice != "none")


def reader_for(request: Any) -> Reader:
    """A reader for the answer to a request; offline there may be no request to ask."""
    if partial := partial_call(request):
        return ContinuationReader(partial)
    choice = getattr(request, "tool_choice", None)
    if choice == "required":
        return RequiredCallReader(None)
    if choice is not None and not isinstance(choice, str) and (name := named_function(choice)):
        return RequiredCallReader(name)
    return MarkupReader()


def delta_message(events: list[Event]) -> DeltaMessage | None:
    """The events of one delta as vLLM's message, with one entry for each call."""
    if not events:
        return None
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
                "id": f"chatcmpl-tool-{token_hex(16)}",
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
