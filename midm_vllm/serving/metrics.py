"""What the model got wrong, as Prometheus counters beside vLLM's own in ``/metrics``.

vLLM's API server sets ``prometheus_client`` up, also for several processes
(``PROMETHEUS_MULTIPROC_DIR``), and serves what is registered. The names begin with ``midm_``,
because vLLM unregisters all that begin with ``vllm:``. Labels hold the served model's name and
this package's own words, never text of a prompt, a tool or an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from prometheus_client import Counter

from midm_vllm.compat.vllm_imports import parser_model_name
from midm_vllm.markup.events import (
    ArgumentText,
    CallEnded,
    CallRepaired,
    CallStarted,
    ContentText,
    Event,
    MarkupAsText,
    Repair,
)
from midm_vllm.serving.output_log import output_log
from midm_vllm.serving.requests.tool_choice import named_tools

#: Complete arguments up to this length are checked as JSON, which takes 0.25 ms: longer ones
#: would delay every stream of the server.
CHECKED_CHARACTERS = 64_000

#: Checks JSON without building it. What it accepts, Python's ``json`` accepts too.
_check_json = msgspec.json.Decoder(msgspec.Raw).decode

#: Beyond so many models the rest share one label: in some releases clients choose the names.
MODELS = 64
OTHER_MODELS = "(others)"


class Counters:
    """The counters of one process, with a child for each model and label."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, Counter]] = {}
        self._calls = _counter(
            "midm_tool_calls",
            "Tool calls, by what became of their arguments: complete is JSON, cut_off ended with "
            f"the output, unchecked is longer than {CHECKED_CHARACTERS} characters, or too deep.",
            "outcome",
        )
        self._repairs = _counter(
            "midm_tool_call_repairs",
            "Tool calls that the model did not write as it was taught, and that were read as "
            "calls all the same, by what was wrong; one call may count under several kinds.",
            "kind",
        )
        self._texts = _counter(
            "midm_markup_as_text",
            "Texts that began as a tool call and were given out as content, by whether they broke "
            "or the output ended.",
            "reason",
        )
        self._unknown = _counter(
            "midm_unknown_tool_calls", "Tool calls of a tool that the request does not have."
        )

    def of_model(self, request: Any) -> dict[str, Counter]:
        """The counters of the model that answers ``request``, named as in vLLM's metrics."""
        name = parser_model_name() or str(getattr(request, "model", None) or "")
        if name not in self._models:
            if len(self._models) >= MODELS:
                name = OTHER_MODELS
            self._models[name] = self._begin(name)
        return self._models[name]

    def _begin(self, model: str) -> dict[str, Counter]:
        """Create all children, at 0, so that the first event of a kind is an increase."""
        children = {"unknown": self._unknown.labels(model)}
        for outcome in ("complete", "call_cut_off", "no_json", "unchecked"):
            children[outcome] = self._calls.labels(model, outcome.removeprefix("call_"))
        for repair in Repair:
            children[repair.value] = self._repairs.labels(model, repair.value)
        for reason in ("broken", "text_cut_off"):
            children[reason] = self._texts.labels(model, reason.removeprefix("text_"))
        return children


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return Counter(name, documentation, ["model_name", *labels])


@cache
def counters() -> Counters:
    """The process's counters; registered when the first request with tools is answered."""
    return Counters()


class OutputTally:
    """Counts one output's calls, and what was wrong with them; logs the output if anything was.

    An :class:`ArgumentText` that comes alone may be appended to ``arguments`` as text, and a
    :class:`ContentText` that comes alone be left out: most deltas are one of these.
    """

    __slots__ = ("arguments", "log", "_request", "_counters", "_in_call", "_is_imperfect")

    def __init__(self, request: Any) -> None:
        #: The pieces of the last call's arguments.
        self.arguments: list[str] = []
        #: Where to keep the output's text; None where outputs are not logged.
        self.log = output_log()
        self._request = request
        self._counters = counters().of_model(request)
        self._in_call = False
        self._is_imperfect = False

    def add(self, events: Iterable[Event]) -> None:
        """Count the reader's next events."""
        for event in events:
            kind = type(event)  # Cheaper than isinstance.
            if kind is ArgumentText:
                self.arguments.append(event.text)  # type: ignore[union-attr]
            elif kind is CallStarted:
                self._in_call = True
                self.arguments.clear()
                if not self._is_known(event.name):  # type: ignore[union-attr]
                    self._counters["unknown"].inc()
            elif kind is CallEnded:
                self._in_call = False
                self._counters[self._outcome()].inc()
            elif kind is not ContentText:
                self._is_imperfect = True
                self._counters[_label(event)].inc()

    def _is_known(self, name: str) -> bool:
        # Offline there may be no request to ask.
        tools = getattr(self._request, "tools", None)
        if not tools:
            return True
        for tool in tools:  # Chat Completions' first: named_tools() costs more than all else here.
            if getattr(getattr(tool, "function", None), "name", None) == name:
                return True
        return any(tool.name == name for tool in named_tools(tools))

    def _outcome(self) -> str:
        """The outcome of a complete call."""
        pieces = self.arguments
        arguments = "".join(pieces) if len(pieces) <= CHECKED_CHARACTERS else None
        pieces.clear()
        if arguments is None or len(arguments) > CHECKED_CHARACTERS:
            return "unchecked"
        try:
            _check_json(arguments)
            return "complete"
        except (RecursionError, ValueError):
            pass  # It also rejects depth, and half a surrogate pair.
        try:
            json.loads(arguments, parse_constant=_refuse)
        except RecursionError:
            return "unchecked"
        except ValueError:
            self._is_imperfect = True
            return "no_json"
        return "complete"

    def finish(self, events: list[Event]) -> None:
        """The output ends with these events: repaired, cut off, no JSON or no call is logged."""
        if events:
            self.add(events)
        if self._in_call:
            self._in_call = False
            self._is_imperfect = True
            self._counters["call_cut_off"].inc()
        if self._is_imperfect and self.log is not None:
            self.log.write()


def _label(event: Any) -> str:
    """The counter of a repair, or of markup that is text."""
    if isinstance(event, CallRepaired):
        return event.repair.value
    assert isinstance(event, MarkupAsText)
    return "text_cut_off" if event.cut_off else "broken"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
