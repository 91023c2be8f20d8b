"""The one template gives the same bytes in every engine that users render it with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from template_engines import Engine, Refused, huggingface_jinja, jinja2, minijinja
from template_requests import CONTENTS, HOSTILE_TEXTS, PROMPTS, REFUSED

from midm_vllm.chat import PACKAGED_TEMPLATE, training_template

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
        assert isinstance(rendered, str)
        results = [turn.split("\n\n")[1] for turn in rendered.split("<|eot_id|>")[1:-1]]
        without_call = order.translate(str.maketrans("", "", "abc"))
        in_order = "".join(sorted(order.translate(str.maketrans("", "", "-x")))) + without_call
        assert "".join(order[int(at)] for at in results) == in_order


#: What stands in a conversation: by an assistant's turn, the calls it has.
ANSWER = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=3)
OTHERS = st.sampled_from(["system", "developer", "user"])
RESULT = st.sampled_from(["result a", "result b", "result c", "result -"])


def conversation(pieces: list[Any]) -> list[dict[str, Any]]:
    """Messages whose content is their place."""
    messages: list[dict[str, Any]] = []
    for at, piece in enumerate(pieces):
        if isinstance(piece, list):
            calls = [{"id": id, "function": {"name": "f", "arguments": {}}} for id in piece]
            messages.append({"role": "assistant", "content": str(at), "tool_calls": calls})
        elif piece.startswith("result"):
            id = piece.removeprefix("result ").replace("-", "")
            messages.append({"role": "tool", "content": str(at), "tool_call_id": id})
        else:
            messages.append({"role": piece, "content": str(at)})
    return messages


def placed(pieces: list[Any]) -> list[int]:
    """The places in the order in which the model reads them, written down without any haste."""
    turns = [at for at, piece in enumerate(pieces) if isinstance(piece, list)]
    open_calls: dict[str, list[tuple[int, int]]] = {}
    answered: set[str] = set()
    call_of: dict[int, tuple[int, int]] = {}
    for at, piece in enumerate(pieces):
        if isinstance(piece, list):
            for id in {id for id in piece if id}:
                open_calls[id] = [(at, place) for place, each in enumerate(piece) if each == id]
                answered.discard(id)
        elif piece.startswith("result") and piece[-1] != "-":
            calls = open_calls.get(piece[-1]) or [
                (turn, place)
                for turn in turns
                for place, id in enumerate(pieces[turn])
                if id == piece[-1]
            ][:1]
            if calls:
                call_of[at] = calls[0]
            if piece[-1] in open_calls and len(calls) > 1:
                calls.pop(0)

    def key(at: int) -> tuple[int, int, tuple[int, int], int]:
        before = max((turn for turn in turns if turn <= at), default=-1)
        if at in call_of:
            return (max(before, call_of[at][0]), 1, call_of[at], at)
        return (before, 0 if isinstance(pieces[at], list) else 2, (0, 0), at)
    return sorted(range(len(pieces)), key=key)


@settings(deadline=None)
@given(st.lists(st.lists(OTHERS | RESULT | ANSWER, max_size=12), min_size=1, max_size=8))
def test_any_conversation_is_read_in_the_documented_order(many: list[list[Any]]) -> None:
    many = [["user", *pieces] for pieces in many]
    requests = [{"messages": conversation(pieces)} for pieces in many]
    for engine in (jinja2, minijinja):
        for pieces, rendered in zip(many, engine(requests), strict=True):
            assert isinstance(rendered, str)
            read = [int(turn.split("\n")[2]) for turn in rendered.split("<|eot_id|>")[:-1]]
            assert read == placed(pieces)


@ENGINES
@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool", "function"])
def test_content_of_any_kind(engine: Engine, role: str) -> None:
    before = [{"role": "user", "content": "?"}]
    requests = [
        {"messages": [*before, {"role": role, "content": content}]} for content, _ in CONTENTS
    ]
    for (_, text), rendered in zip(CONTENTS, engine(requests), strict=True):
        assert isinstance(rendered, str), rendered
        name = "tool" if role == "function" else role
        assert rendered.endswith(f"<|start_header_id|>{name}<|end_header_id|>\n\n{text}<|eot_id|>")


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


def test_the_template_for_training_has_marks_more() -> None:
    plain = PACKAGED_TEMPLATE.read_text("utf-8").splitlines()
    marked = training_template().splitlines()
    more = [line.strip() for line, before in zip(marked, plain, strict=True) if line != before]
    assert more == ["{%- generation -%}", "{%- endgeneration -%}"]
