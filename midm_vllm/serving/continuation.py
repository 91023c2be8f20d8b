"""A call that the request began (``continue_final_message``; in Responses, a last message whose
status is ``incomplete`` or ``in_progress``) and the model ends.

The client's last message ends inside ``<tool_call>…``, and the model writes the
rest. What the client has of it is text and no call, so the answer holds the
whole call: what was begun is read ahead of the output. Where it proves to be no
call, only what the model wrote is content: the client has the rest.
"""

from __future__ import annotations

from typing import Any

from midm_vllm.markup.events import CallStarted, ContentText, Event, MarkupAsText
from midm_vllm.markup.reader import MarkupReader
from midm_vllm.markup.tags import CLOSING_TAG, OPENING_TAG


def begun_call(request: Any) -> str:
    """What the request's last message holds of a call that it does not end; "" without one."""
    text = _continued_text(request)
    if not text:
        return ""
    start = text.rfind(OPENING_TAG)
    if start < 0 or CLOSING_TAG in text[start:]:
        return ""
    begun = text[start:]
    return "" if _is_prose(begun) else begun


def _is_prose(begun: str) -> bool:
    """Whether what stands behind the tag cannot be (the rest of) a call any more."""
    events = MarkupReader().feed(begun)
    return any(isinstance(event, MarkupAsText) for event in events) and not any(
        isinstance(event, CallStarted) for event in events
    )


def _continued_text(request: Any) -> str:
    """The text that the model goes on with; "" where it begins a turn of its own."""
    # Asked first, and alone: to ask pydantic for what there is not takes microseconds.
    continues = getattr(request, "continue_final_message", None)
    if continues is not None:
        return _text(_field(request.messages[-1], "content")) if continues else ""
    # Responses has no such member: vLLM goes on with a message that is not complete.
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


class ContinuingReader(MarkupReader):
    """Reads an output that continues the text ``begun``.

    Calls are told whole, content without what was begun. Events of what was
    begun come with those of the first delta.
    """

    def __init__(self, begun: str) -> None:
        super().__init__()
        #: What was begun and may yet come back as content.
        self._begun = begun
        self._first_events = super().feed(begun)

    def feed(self, text: str) -> list[Event]:
        """See :meth:`MarkupReader.feed`."""
        return self._without_begun(super().feed(text))

    def finish(self) -> list[Event]:
        """See :meth:`MarkupReader.finish`."""
        return self._without_begun(super().finish())

    def _without_begun(self, events: list[Event]) -> list[Event]:
        events, self._first_events = self._first_events + events, []
        if not self._begun:
            return events
        kept: list[Event] = []
        for event in events:
            if isinstance(event, CallStarted):
                self._begun = ""
            elif isinstance(event, ContentText) and self._begun:
                known = len(event.text) if self._begun.startswith(event.text) else (
                    len(self._begun) if event.text.startswith(self._begun) else 0
                )
                self._begun = self._begun[known:] if known else ""
                event = ContentText(event.text[known:])
                if not event.text:
                    continue
            kept.append(event)
        return kept
