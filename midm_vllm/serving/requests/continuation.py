"""A call that the request begins and the model completes.

The client's last message ends inside ``<tool_call>…`` (``continue_final_message``; in Responses, a
last message whose status is ``incomplete`` or ``in_progress``). The client has that part as text
and not as a call, so the answer contains the whole call: the partial call is read before the
output. Where it proves to be text, only the model's part is content.
"""

from __future__ import annotations

from typing import Any

from midm_vllm.markup.events import CallStarted, ContentText, Event, MarkupAsText
from midm_vllm.markup.reader import MarkupReader
from midm_vllm.markup.tags import CLOSING_TAG, OPENING_TAG


def partial_call(request: Any) -> str:
    """The partial call at the end of the request's last message; "" without one."""
    text = _continued_text(request)
    if not text:
        return ""
    start = text.rfind(OPENING_TAG)
    if start < 0 or CLOSING_TAG in text[start:]:
        return ""
    partial = text[start:]
    return "" if _is_prose(partial) else partial


def _is_prose(partial: str) -> bool:
    """Whether the text behind the tag cannot become a call any more."""
    events = MarkupReader().feed(partial)
    return any(isinstance(event, MarkupAsText) for event in events) and not any(
        isinstance(event, CallStarted) for event in events
    )


def _continued_text(request: Any) -> str:
    """The text that the model continues; "" where it begins a turn of its own."""
    # Looked up first, and alone: a member that pydantic does not have takes microseconds.
    continues = getattr(request, "continue_final_message", None)
    if continues is not None:
        return _text(_field(request.messages[-1], "content")) if continues else ""
    # Responses has no such member: vLLM continues a message that is not complete.
    items = getattr(request, "input", None)
    last = items[-1] if items and not isinstance(items, str) else None
    if (_field(last, "type") or "message") == "message" and (
        _field(last, "status") in ("in_progress", "incomplete")
    ):
        return _text(_field(last, "content"))
    return ""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(_field(part, "text") or "" for part in content or ())


def _field(item: Any, name: str) -> Any:
    """A member of what the client sent, which vLLM has made an object of or left a mapping."""
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)


class ContinuationReader:
    """Reads an output that continues a partial call.

    Calls are reported whole, content without the partial call. Its own events
    come with those of the first delta.
    """

    def __init__(self, partial: str) -> None:
        self._reader = MarkupReader()
        #: The part of the partial call that may still become content.
        self._partial = partial
        self._first_events = self._reader.feed(partial)

    def feed(self, text: str) -> list[Event]:
        """See :meth:`MarkupReader.feed`."""
        return self._without_partial(self._reader.feed(text))

    def finish(self) -> list[Event]:
        """See :meth:`MarkupReader.finish`."""
        return self._without_partial(self._reader.finish())

    def _without_partial(self, events: list[Event]) -> list[Event]:
        events, self._first_events = self._first_events + events, []
        if not self._partial:
            return events
        kept: list[Event] = []
        for event in events:
            if isinstance(event, CallStarted):
                self._partial = ""
            elif isinstance(event, ContentText) and self._partial:
                known = len(event.text) if self._partial.startswith(event.text) else (
                    len(self._partial) if event.text.startswith(self._partial) else 0
                )
                self._partial = self._partial[known:] if known else ""
                event = ContentText(event.text[known:])
                if not event.text:
                    continue
            kept.append(event)
        return kept
