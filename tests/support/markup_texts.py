"""Texts to test the markup reader with: the table of cases, and arbitrary ones like them."""

from __future__ import annotations

import pytest
from devtools.cases.markup import CASES
from hypothesis import strategies as st

short_cases = [case for case in CASES if len(case.text) < 5_000]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
every_short_case = pytest.mark.parametrize("case", short_cases, ids=lambda case: case.id)

FRAGMENTS = [
    "<tool_call>", "</tool_call>", "<tool_", "</", "<", ">", "{", "}", "[", "]", '"', "\\", '\\"',
    ":", ",", " ", "\n", '"name"', '"arguments"', '"parameters"', '{"name": "a", "arguments": {',
    '{"name":"b","arguments":"', "null", "1.0", "true", "'", "\\ud83d", "\\ude00", "\\u00",
    "\ud83d", "\x00", "가", "날씨", "text", '{"name": "a"', "}}", '"}}', '{"x":',
]  # fmt: skip
fragments = st.sampled_from(FRAGMENTS) | st.text(max_size=3)
marked_up_text = st.lists(fragments, max_size=40).map("".join)
delta_sizes = st.lists(st.integers(0, 15), max_size=40)


@st.composite
def mutated_cases(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(short_cases)).text
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        removed = draw(st.integers(0, 4))
        text = text[:at] + draw(st.sampled_from(["", *FRAGMENTS])) + text[at + removed :]
    return text


any_text = marked_up_text | mutated_cases() | st.text()
