"""The one template gives the same bytes in every engine that users render it with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from template_engines import Engine, Refused, huggingface_jinja, jinja2, minijinja
from template_requests import HOSTILE_TEXTS, PROMPTS, REFUSED

from midm_vllm.chat import PACKAGED_TEMPLATE, plain_template

ENGINES = pytest.mark.parametrize(
    "engine",
    [
        jinja2,
        minijinja,
        pytest.param(huggingface_jinja, marks=pytest.mark.slow),
    ],
    ids=lambda engine: engine.__name__,
)


def variables(path: Path) -> dict[str, Any]:
    """A request as the template's variables."""
    request = {"add_generation_prompt": True, **json.loads(path.read_text("utf-8"))}
    request.pop("continue_final_message", None)  # Cuts the prompt after it was rendered.
    return request | request.pop("chat_template_kwargs", {})


@ENGINES
def test_the_golden_prompts(engine: Engine) -> None:
    paths = sorted(PROMPTS.glob("*.json"))
    for path, rendered in zip(paths, engine([variables(path) for path in paths]), strict=True):
        wanted = path.with_suffix(".txt").read_text("utf-8")
        if path.stem == "continued_answer":
            wanted += "<|eot_id|>"
        assert rendered == wanted, path.stem


@ENGINES
@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
@pytest.mark.parametrize("control_tokens", [None, ["<|eot_id|>", "<s>", "###"]], ids=str)
def test_hostile_texts(engine: Engine, role: str, control_tokens: list[str] | None) -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": {}}}
    before = [{"role": "assistant", "tool_calls": [call]}] if role == "tool" else []
    requests = [
        {
            "messages": [*before, {"role": role, "content": text, "tool_call_id": "a"}],
            "tools": [{"type": "function", "function": {"name": "f", "description": text}}],
            **({} if control_tokens is None else {"control_tokens": control_tokens}),
        }
        for text in HOSTILE_TEXTS
    ]
    assert engine(requests) == jinja2(requests)


@ENGINES
def test_every_order_of_results(engine: Engine) -> None:
    ids = ["a", "b", "b", "c", None]
    calls = [{"id": id, "function": {"name": "f", "arguments": {}}} for id in ids]
    orders = ["abbc", "cbab", "aabbcc", "", "c-b-a", "--", "ba", "acx", "xa"]
    requests = [
        {
            "messages": [
                {"role": "assistant", "tool_calls": calls},
                *(
                    {"role": "tool", "content": str(at), "tool_call_id": None if id == "-" else id}
                    for at, id in enumerate(order)
                ),
            ]
        }
        for order in orders
    ]
    for order, rendered in zip(orders, engine(requests), strict=True):
        if "x" in order:
            assert isinstance(rendered, Refused) and "tool_call_id x" in rendered.reason
            continue
        assert isinstance(rendered, str)
        results = [turn.split("\n\n")[1] for turn in rendered.split("<|eot_id|>")[1:-1]]
        assert "".join(order[int(at)] for at in results) == "".join(sorted(order, key="abc-".index))


@ENGINES
def test_ids_of_any_text_find_their_calls(engine: Engine) -> None:
    """They are sorted, by each engine in its own order: what begins alike must stay apart."""
    ids = ["a", "A", "a\n", "a\t2", 'a"', 'a"1', "a 20000000", "a\\", "ab", "", "é", "e\u0301",
           "한", "\uffff", "😀", "0", "10000000", "[", "<|eot_id|>"]
    calls = [{"id": id, "function": {"name": "f", "arguments": {}}} for id in ids]
    results = [
        {"role": "tool", "content": f"result of {ids.index(id)}", "tool_call_id": id}
        for id in sorted(ids, reverse=True)
    ]
    [rendered] = engine([{"messages": [{"role": "assistant", "tool_calls": calls}, *results]}])
    assert isinstance(rendered, str)
    found = [int(turn.split("result of ")[1]) for turn in rendered.split("<|eot_id|>")[1:-1]]
    without_id = ids.index("")
    in_order = [at for at in range(len(ids)) if at != without_id]
    assert found == [*in_order, without_id]


@ENGINES
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_rendered_is_refused_with_a_sentence(engine: Engine, case: str) -> None:
    messages, sentence = REFUSED[case]
    [answer] = engine([{"messages": messages}])
    assert isinstance(answer, Refused)
    assert sentence in answer.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=3))
def test_json_is_written_as_python_writes_it(value: dict[str, Any]) -> None:
    function = {"name": "f", "description": "<b>'&\\u003c", "parameters": value}
    requests = [{"messages": [], "tools": [{"function": function}], "allow_control_tokens": True}]
    assert minijinja(requests) == jinja2(requests)


def test_only_the_marks_are_missing_from_the_plain_template() -> None:
    marked = PACKAGED_TEMPLATE.read_text("utf-8").splitlines()
    plain = plain_template().splitlines()
    missing = [line.strip() for line in marked if line not in plain]
    assert missing == ["{%- generation -%}", "{%- endgeneration -%}"]
    assert len(plain) == len(marked) - 2
