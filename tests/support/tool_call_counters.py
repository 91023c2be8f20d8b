"""The counters of tool calls, as they are in a process or at a server's ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from devtools.server import MODEL, Server
from prometheus_client.parser import text_string_to_metric_families

#: Counter -> the short name it has here, and its label beside the model's.
NAMES = {
    "midm_tool_calls_total": ("calls", "outcome"),
    "midm_tool_call_repairs_total": ("repairs", "kind"),
    "midm_markup_as_text_total": ("texts", "reason"),
    "midm_unknown_tool_calls_total": ("unknown", None),
}


class Counts:
    """The counters' values, and how they differ from those before."""

    def __init__(self, samples: Iterator[Any]) -> None:
        self.values = {}
        for sample in samples:
            if sample.name in NAMES and sample.labels["model_name"] == MODEL:
                name, label = NAMES[sample.name]
                self.values[name, sample.labels.get(label, "")] = sample.value

    def since(self, before: Counts) -> dict[tuple[str, str], int]:
        grown = {key: value - before.values.get(key, 0) for key, value in self.values.items()}
        return {key: int(more) for key, more in grown.items() if more}


def metrics(server: Server) -> Counts:
    text = httpx.get(f"{server.url}/metrics", timeout=60).raise_for_status().text
    return Counts(
        sample for metric in text_string_to_metric_families(text) for sample in metric.samples
    )
