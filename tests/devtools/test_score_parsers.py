"""The comparison of parsers on a real server, by the leaderboard's checker."""

from __future__ import annotations

import pytest
from evaluation import score_parsers
from evaluation.score_parsers import WAYS, in_leaderboard, scores

CALLS = [("f", {"n": 1, "city": "서울"}), ("g", {})]


def test_a_way_writes_what_its_name_says() -> None:
    taught = WAYS["as taught"](CALLS)
    assert taught.splitlines()[1] == '<tool_call>{"name": "g", "arguments": {}}</tool_call>'
    assert WAYS["the last tag missing"](CALLS) + "</tool_call>" == taught
    assert WAYS["the history's form"](CALLS).splitlines()[2] == '{"name": "g", "parameters": {}}'
    cut = WAYS["a brace missing"](CALLS)
    assert cut.count("{") == cut.count("}") + 2
    assert '"arguments": "{\\"n\\": 1' in WAYS["arguments as text"](CALLS)
    assert '"서울 </tool_call><tool_call>"' in WAYS["tags in a string"](CALLS)
    assert CALLS[0][1]["city"] == "서울"


@pytest.mark.slow
def test_midm_parser_leaves_every_call_right_and_the_checker_finds_what_is_wrong() -> None:
    entries = in_leaderboard("entries", "1", "0")
    assert len(entries) == 4
    for of_parser in scores(entries, chunk=8, parsers=("midm-parser",)).values():
        assert of_parser["midm-parser"] == (100.0, 100.0)
    wrong = in_leaderboard("check", told=[
        {
            "category": entry["category"], "changed": {},
            "results": [{"id": entry["id"], "result": [
                *({name: score_parsers.written(value)} for name, value in entry["calls"]),
                {"one_too_many": "{}"},
            ]}],
        }
        for entry in entries
    ])
    assert wrong == [[entry["id"]] for entry in entries]
