"""``midm-parser`` in vLLM 0.8 to 0.23, whose chat serving class treats a parser differently.

* Nothing reports the end of its stream to the parser. Where the model ended by itself, though,
  the last delta's token ids end with the id that ended it.
* To 0.19 all choices of a streamed request (``n`` > 1) share one parser.
* To 0.10.0 a delta of which nothing is sent takes the finish reason with it.
* To 0.22 a last delta that carries arguments is replaced by what ``json.dumps`` makes of them,
  less what was sent before: right only for a parser that re-serialises the model's JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

from midm_vllm.compat.capabilities import has
from midm_vllm.compat.vllm_imports import ChatCompletionRequest, DeltaMessage
from midm_vllm.markup.events import CallStarted
from midm_vllm.markup.tags import END_TOKENS
from midm_vllm.serving.metrics import OutputTally
from midm_vllm.serving.tool_parser import (
    MidmToolParser,
    delta_message,
    reader_for,
    wants_calls,
)

_SENDS_FINISH_REASON = has("finish reason alone")


class _Choice:
    """One choice's stream, known again by the list of token ids that vLLM keeps for it."""

    def __init__(self, request: Any) -> None:
        self.reader = reader_for(request)
        self.token_ids: Sequence[int] = ()
        self.tally = OutputTally(request)
        #: One entry for each call; that there are any makes the finish reason ``tool_calls``.
        self.calls: list[dict[str, Any]] = []


class OlderMidmToolParser(MidmToolParser):
    """:class:`~midm_vllm.serving.tool_parser.MidmToolParser` for vLLM 0.8 to 0.23.

    Text that is buffered when a stream ends is lost unless the model ended it by itself.
    """

    def __init__(self, tokenizer: Any, *tools: Any) -> None:
        super().__init__(tokenizer, *tools)
        ends = {self.vocab.get(token) for token in END_TOKENS}
        self._end_ids = ends | {getattr(tokenizer, "eos_token_id", None)}
        self._choices: list[_Choice] = []

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
        """Read the next delta, and what is buffered if the model ended with it."""
        if not wants_calls(request):
            return DeltaMessage(content=delta_text)
        choice = self._choice(request, previous_text, previous_token_ids)
        choice.token_ids = current_token_ids
        events = choice.reader.feed(delta_text)
        ended = bool(delta_token_ids) and delta_token_ids[-1] in self._end_ids
        if ended and not getattr(request, "ignore_eos", False):
            events += choice.reader.finish()
        self._tally = tally = choice.tally
        if tally.log is not None:
            tally.log.keep(delta_text)
        (tally.finish if ended else tally.add)(events)
        choice.calls += ({"name": event.name} for event in events if isinstance(event, CallStarted))
        self.prev_tool_call_arr = choice.calls
        self._reader = choice.reader
        message = delta_message(events)
        return DeltaMessage() if message is None and not _SENDS_FINISH_REASON else message

    def _choice(
        self, request: Any, previous_text: str, previous_token_ids: Sequence[int]
    ) -> _Choice:
        if not previous_text and not previous_token_ids:
            self._choices.append(_Choice(request))
            return self._choices[-1]
        for choice in self._choices:
            if choice.token_ids is previous_token_ids:
                return choice
        return self._choices[-1]


def keep_last_delta(module: Any) -> None:
    """Have vLLM 0.8 to 0.22 send our parser's last delta as it is, and others as before."""
    serving_chat = module.OpenAIServingChat
    replaces = serving_chat._should_check_for_unstreamed_tool_arg_tokens

    @wraps(replaces)
    def replaces_others(self: Any, *args: Any, **kwargs: Any) -> bool:
        return self.tool_parser is not OlderMidmToolParser and replaces(self, *args, **kwargs)

    serving_chat._should_check_for_unstreamed_tool_arg_tokens = replaces_others
