"""What the model got wrong, as Prometheus counters beside vLLM's own in ``/metrics``.

vLLM's API server sets ``prometheus_client`` up, also for several processes
(``PROMETHEUS_MULTIPROC_DIR``), and serves what is registered. The names begin
with ``midm_``: what begins with ``vllm:`` vLLM takes out when it sets up its own.
Labels hold the served model's name and words of this package's, never text
of a prompt, a tool or an answer.

Counting is off the way of a delta: events are only collected there, and looked
at where one brings several, as a call's start and end do. Arguments are looked
at once, when they are complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache, cached_property
from typing import Any

from prometheus_client import Counter
from pydantic_core import from_json

from midm_vllm.compat.vllm_layout import parser_model_name
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
from midm_vllm.serving.request_tools import named_tools

#: Arguments up to this length are tried as JSON, a quarter of a millisecond's work: longer ones
#: would hold up the server's event loop, in which every stream waits.
CHECKED_CHARACTERS = 64_000

#: Events are looked at, at the latest, when so many have been collected.
COLLECTED_EVENTS = 1000

#: Beyond so many models the rest share one label, where a release of vLLM leaves it to the client
#: which names there are.
MODELS = 64
OTHER_MODELS = "(others)"


class Counters:
    """The counters of one process: a child of each for each model, and each value of its label."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, Counter]] = {}
        self._calls = _counter(
            "midm_tool_calls",
            "Tool calls, by whether the output went on to the end of their arguments.",
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
        self._arguments = _counter(
            "midm_tool_call_arguments",
            "Complete tool calls, by whether their arguments are JSON; unchecked: longer than "
            f"{CHECKED_CHARACTERS} characters, or too deep.",
            "result",
        )

    def of_model(self, request: Any) -> dict[str, Counter]:
        """Those of the model that answers ``request``, under the name vLLM's own metrics have."""
        name = parser_model_name() or str(getattr(request, "model", None) or "")
        if name not in self._models:
            if len(self._models) >= MODELS:
                name = OTHER_MODELS
            self._models[name] = self._begin(name)
        return self._models[name]

    def _begin(self, model: str) -> dict[str, Counter]:
        """All begin at 0, so that the first of a kind is an increase."""
        children = {"unknown": self._unknown.labels(model)}
        for outcome in ("complete", "call_cut_off"):
            children[outcome] = self._calls.labels(model, outcome.removeprefix("call_"))
        for repair in Repair:
            children[repair.value] = self._repairs.labels(model, repair.value)
        for reason in ("broken", "text_cut_off"):
            children[reason] = self._texts.labels(model, reason.removeprefix("text_"))
        for result in ("json", "no_json", "unchecked"):
            children[result] = self._arguments.labels(model, result)
        return children


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return Counter(name, documentation, ["model_name", *labels])


@cache
def counters() -> Counters:
    """The process's counters; registered when the first request with tools is answered."""
    return Counters()


class OutputTally:
    """Counts one output's calls, and what was wrong with them."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._counters = counters().of_model(request)
        self._in_call = False
        self._arguments: list[str] = []
        self._is_imperfect = False

    @cached_property
    def _tool_names(self) -> set[str]:
        return {tool.name for tool in named_tools(self._request.tools)}

    def add(self, events: Iterable[Event]) -> None:
        """Count what the reader tells next."""
        counters = self._counters
        for event in events:
            kind = type(event)  # Cheaper than isinstance, and each event costs a delta its time.
            if kind is ArgumentText:
                self._arguments.append(event.text)  # type: ignore[union-attr]
            elif kind is CallEnded:
                self._in_call = False
                counters["complete"].inc()
                counters[self._result()].inc()
            elif kind is not ContentText:
                self._count(event)

    def _count(self, event: Event) -> None:
        if isinstance(event, CallStarted):
            self._in_call = True
            self._arguments.clear()
            # Offline there may be no request to ask.
            tools = getattr(self._request, "tools", None)
            if tools and event.name not in self._tool_names:
                self._counters["unknown"].inc()
        elif isinstance(event, CallRepaired):
            self._is_imperfect = True
            self._counters[event.repair.value].inc()
        elif isinstance(event, MarkupAsText):
            self._is_imperfect = True
            self._counters["text_cut_off" if event.cut_off else "broken"].inc()

    def _result(self) -> str:
        arguments = "".join(self._arguments)
        self._arguments.clear()
        if len(arguments) > CHECKED_CHARACTERS:
            return "unchecked"
        try:
            from_json(arguments, allow_inf_nan=False)
            return "json"
        except (TypeError, ValueError):
            pass  # Twice as fast, but also refuses depth, and half a surrogate pair.
        try:
            json.loads(arguments, parse_constant=_refuse)
        except RecursionError:
            return "unchecked"
        except ValueError:
            self._is_imperfect = True
            return "no_json"
        return "json"

    def finish(self) -> bool:
        """The output has ended. Whether it was imperfect: repaired, cut off, no JSON, no call."""
        if self._in_call:
            self._in_call = False
            self._is_imperfect = True
            self._counters["call_cut_off"].inc()
        return self._is_imperfect


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
