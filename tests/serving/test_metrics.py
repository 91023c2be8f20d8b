"""What the model got wrong is counted in ``/metrics``, beside what vLLM counts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from devtools.cases.markup import CASES
from devtools.server import MODEL, Server
from log_lines import log_lines
from prometheus_client import REGISTRY
from tokenizers import Tokenizer
from tool_call_counters import NAMES, Counts, metrics
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest

from midm_vllm.compat.vllm_imports import ChatCompletionRequest
from midm_vllm.markup.events import Repair
from midm_vllm.serving import output_log
from midm_vllm.serving import metrics as metrics_module
from midm_vllm.serving.metrics import CHECKED_CHARACTERS
from midm_vllm.serving.tool_parser import MidmToolParser

TOOLS = [{"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}]
CHAT_REQUEST = {
    "model": MODEL, "messages": [{"role": "user", "content": "?"}], "tools": TOOLS,
}  # fmt: skip
BY_ID = {case.id: case.text for case in CASES}
#: Case of the table -> what it adds to the counters: name, and the label beside the model's.
COUNTS: dict[str, dict[tuple[str, str], int]] = {
    "plain text": {},
    "one call": {
        ("calls", "complete"): 1, ("unknown", ""): 1,
    },
    "the history's form": {
        ("calls", "complete"): 2, ("unknown", ""): 1,
        ("repairs", "parameters_key"): 2, ("repairs", "several_in_block"): 1,
    },
    "arguments closed too early": {
        ("calls", "complete"): 1, ("repairs", "bracket_missing"): 1,
    },
    "small slips inside arguments": {("calls", "no_json"): 1},
    "10,000 open brackets": {
        ("calls", "unchecked"): 1, ("repairs", "bracket_missing"): 1,
    },
    "cut off in the arguments": {("calls", "cut_off"): 1},
    "cut off before the arguments": {("texts", "cut_off"): 1},
    "the tag in an explanation": {("texts", "broken"): 1},
}  # fmt: skip


def here() -> Counts:
    return Counts(sample for metric in REGISTRY.collect() for sample in metric.samples)


class _NoTokenizer:
    eos_token_id = 0

    def get_vocab(self) -> dict[str, int]:
        return {}


def request() -> Any:
    return ChatCompletionRequest.model_validate(CHAT_REQUEST)


def stream(text: str, size: int) -> None:
    made = MidmToolParser(_NoTokenizer())
    for start in range(0, len(text), size):
        made.extract_tool_calls_streaming("", "", text[start : start + size], [], [], [], request())
    made.get_remaining_unstreamed_args()
    made.finish_streaming()


@pytest.mark.parametrize("case", COUNTS)
def test_a_non_streaming_output_is_counted(case: str) -> None:
    before = here()
    MidmToolParser(_NoTokenizer()).extract_tool_calls(BY_ID[case], request())
    assert here().since(before) == COUNTS[case]


@pytest.mark.parametrize("case", COUNTS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_is_counted_as_the_non_streaming_output(case: str, size: int) -> None:
    before = here()
    stream(BY_ID[case], size)
    assert here().since(before) == COUNTS[case]


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [('{"x": NaN}', "no_json"), ('{"x": "\\\\ud800"}', "complete"), ('{"x": 1,}', "no_json"),
     ("[" * 300 + "]" * 300, "complete"), ('{"x": "\ud800"}', "complete")],
    ids=["a constant", "half a pair", "a comma", "deep", "half a character"],
)  # fmt: skip
def test_what_is_json(arguments: str, outcome: str) -> None:
    before = here()
    stream(f'<tool_call>{{"name": "a", "arguments": {arguments}}}</tool_call>', 7)
    assert here().since(before).get(("calls", outcome)) == 1


@pytest.mark.parametrize(
    ("name", "unknown"), [("crm__find", None), ("run_sql", None), ("find", 1), ("crm", 1)]
)
def test_the_tools_of_responses_are_known_by_the_names_the_model_is_shown(
    name: str, unknown: int | None
) -> None:
    find = {"type": "function", "name": "find", "parameters": {"type": "object"}}
    tools = [{"type": "namespace", "name": "crm", "description": "", "tools": [find]},
             {"type": "custom", "name": "run_sql"}, {"type": "web_search"}]
    asked = ResponsesRequest.model_validate({"model": MODEL, "input": "?", "tools": tools})
    before = here()
    MidmToolParser(_NoTokenizer()).extract_tool_calls(
        f'<tool_call>{{"name": "{name}", "arguments": {{}}}}</tool_call>', asked
    )
    assert here().since(before).get(("unknown", "")) == unknown


def test_arguments_of_any_length_cost_no_more_than_those_that_are_checked() -> None:
    arguments = '{"x": "' + "y" * CHECKED_CHARACTERS + '"}'
    before = here()
    stream(f'<tool_call>{{"name": "a", "arguments": {arguments}}}</tool_call>', 1000)
    assert here().since(before) == {("calls", "unchecked"): 1}


def test_deltas_inside_arguments_and_text_are_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[int] = []
    add = metrics_module.OutputTally.add

    def counted(tally: Any, events: Any) -> None:
        walked.append(len(events))
        add(tally, events)

    monkeypatch.setattr(metrics_module.OutputTally, "add", counted)
    before = here()
    call = '<tool_call>{"name": "a", "arguments": {"x": "' + "나" * 500 + '"}}</tool_call>'
    stream("가" * 100 + call, 1)
    assert len(walked) == 2, "where the call begins, and where it ends"
    assert here().since(before) == {("calls", "complete"): 1}


def test_a_known_tool_is_found_without_naming_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "named_tools", lambda tools: pytest.fail("all were named"))
    before = here()
    stream('<tool_call>{"name": "a", "arguments": {}}</tool_call>', 7)
    assert ("unknown", "") not in here().since(before)


def test_every_kind_is_there_before_it_happens() -> None:
    stream(BY_ID["plain text"], 7)
    kinds = {label for name, label in here().values if name == "repairs"}
    assert kinds == {repair.value for repair in Repair}


def test_labels_hold_nothing_that_users_or_models_say() -> None:
    stream('<tool_call>{"name": "SECRET", "arguments": "SECRET"}</tool_call>', 7)
    labels = [
        value for metric in REGISTRY.collect() if metric.name.startswith("midm_")
        for sample in metric.samples for value in sample.labels.values()
    ]
    assert labels and not any("SECRET" in label for label in labels)


@pytest.fixture
def log() -> Iterator[list[str]]:
    output_log.log_limit.cache_clear()
    with log_lines(output_log.logger) as lines:
        yield lines
    output_log.log_limit.cache_clear()


def test_imperfect_outputs_are_logged_only_if_configured(log: list[str]) -> None:
    stream(BY_ID["no closing tag"], 7)
    assert not log


def test_an_imperfect_output_is_logged(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDM_VLLM_LOG_IMPERFECT", "200")
    stream(BY_ID["one call"], 7)
    stream(BY_ID["no closing tag"], 7)
    warning, line = log
    assert "users' text" in warning
    logged = json.loads(line.partition(": ")[2])
    assert "".join(piece["text"] for piece in logged["pieces"]) == BY_ID["no closing tag"]
    assert logged["calls"] == [
        {"name": "a", "complete": True, "repairs": ["closing_tag_missing"], "added": ""}
    ]
    assert not logged["logged_in_part"]


def test_the_log_holds_no_more_than_the_limit(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDM_VLLM_LOG_IMPERFECT", "20")
    stream(BY_ID["no closing tag"], 7)
    logged = json.loads(log[-1].partition(": ")[2])
    assert "".join(piece["text"] for piece in logged["pieces"]) == BY_ID["no closing tag"][:20]
    assert logged["logged_in_part"]


@pytest.mark.parametrize("case", [case for case in COUNTS if case != "10,000 open brackets"])
def test_a_server_shows_what_it_counted(
    render_server: Server, checkpoint: Path, case: str
) -> None:
    token_ids = Tokenizer.from_file(str(checkpoint / "tokenizer.json")).encode(BY_ID[case]).ids
    choice = {"index": 0, "finish_reason": "stop", "token_ids": token_ids}
    before = metrics(render_server)
    httpx.post(
        f"{render_server.url}/v1/chat/completions/derender",
        json={"generate_response": {"request_id": "r", "choices": [choice]},
              "chat_request": CHAT_REQUEST},
        timeout=60,
    ).raise_for_status()
    assert metrics(render_server).since(before) == COUNTS[case]


def test_clients_cannot_make_as_many_labels_as_they_like(monkeypatch: pytest.MonkeyPatch) -> None:
    made = metrics_module.counters()
    monkeypatch.setattr(made, "_models", {})
    monkeypatch.setattr(metrics_module, "MODELS", 2)
    monkeypatch.setattr(metrics_module, "parser_model_name", lambda: "")
    for number in range(9):
        made.of_model(SimpleNamespace(model=f"of a client {number}"))
    assert list(made._models) == ["of a client 0", "of a client 1", metrics_module.OTHER_MODELS]


def test_the_model_goes_by_the_name_that_vllm_counts_it_under(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    made = metrics_module.counters()
    monkeypatch.setattr(metrics_module, "parser_model_name", lambda: MODEL)
    of_a_lora = made.of_model(SimpleNamespace(model="a LoRA, or another served name"))
    assert of_a_lora is made.of_model(SimpleNamespace(model=MODEL))


DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_and_the_dashboard_name_the_counters_there_are() -> None:
    page = (DOCS / "guides" / "monitoring.md").read_text("utf-8")
    dashboard = json.loads((DOCS / "grafana.json").read_text("utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert set(re.findall(r"midm_\w+", page)) == NAMES.keys()
    assert set(re.findall(r"midm_\w+", " ".join(queries))) == NAMES.keys()
    assert set(re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)) >= {
        repair.value for repair in Repair
    }


def test_queries_ask_for_labels_and_values_that_there_are() -> None:
    stream(BY_ID["plain text"], 7)
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    page = (DOCS / "guides" / "monitoring.md").read_text("utf-8")
    dashboard = json.loads((DOCS / "grafana.json").read_text("utf-8"))
    queries = [
        *re.findall(r"```promql\n(.*?)```", page, re.DOTALL),
        *(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]),
    ]
    assert len(queries) == 7
    for query in queries:
        assert query.count("(") == query.count(")") and query.count("{") == query.count("}")
        names = set(re.findall(r"midm_\w+", query))
        labels = {label for sample in samples if sample.name in names for label in sample.labels}
        for asked in re.findall(r"(?:by|ignoring) \(([^)]*)\)", query):
            assert set(asked.split(", ")) <= labels
        for name, label, values in re.findall(r'(midm_\w+)\{(\w+)=~?"([\w|]+)"\}', query):
            known = {sample.labels[label] for sample in samples if sample.name == name}
            assert set(values.split("|")) <= known


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    dashboard = json.loads((DOCS / "grafana.json").read_text("utf-8"))
    assert dashboard["title"] and dashboard["uid"] and dashboard["schemaVersion"] >= 36
    assert "id" not in dashboard, "Grafana numbers what it imports"
    [source] = dashboard["templating"]["list"]
    asked = {"type": "prometheus", "uid": f"${{{source['name']}}}"}
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 4
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in panels]
    assert len({(x, y) for x, y, _, _ in places}) == 4
    assert all(x + w <= 24 for x, _, w, _ in places)
    for panel in panels:
        assert panel["datasource"] == asked and panel["type"] == "timeseries"
        for target in panel["targets"]:
            assert target["datasource"] == asked and target["refId"]
            shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            [grouped] = re.findall(r"^(?:100 \* \(?)?sum by \(([^)]*)\)", target["expr"])
            assert shown == grouped.split(", ")
