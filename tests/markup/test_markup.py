"""The markup reader keeps its laws, over the table and over arbitrary text."""

from __future__ import annotations

import json
import random

import pytest
from devtools.cases.markup import Case
from devtools.cases.markup_laws import (
    Call,
    Output,
    add_up,
    check_against_reference,
    check_promptness,
    check_work,
    cut,
    pieces,
    read,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from markup_texts import any_text, delta_sizes, every_case, every_short_case

from midm_vllm.markup.events import ArgumentText, CallEnded, CallStarted, ContentText
from midm_vllm.markup.reader import MarkupReader


@every_case
def test_case_matches_the_table(case: Case) -> None:
    output = read(case.text)
    assert output.content == case.content
    assert [(call.name, call.arguments) for call in output.calls] == list(case.calls)


@every_case
@pytest.mark.parametrize("size", [1, 2, 3, 7, 11, 40])
def test_case_is_read_the_same_in_deltas_of(case: Case, size: int) -> None:
    assert read(*pieces(case.text, size)) == read(case.text)


@every_short_case
def test_case_is_read_the_same_however_it_is_split(case: Case) -> None:
    whole = read(case.text)
    for at in range(len(case.text) + 1):
        assert read(case.text[:at], case.text[at:]) == whole
    random_source = random.Random(case.id)
    for _ in range(50):
        sizes = [random_source.choice([0, 1, 2, 5, 20]) for _ in range(40)]
        assert read(*cut(case.text, sizes)) == whole


@every_short_case
def test_every_prefix_of_a_case_is_read_the_same_one_shot_and_streamed(case: Case) -> None:
    for end in range(len(case.text)):
        prefix = case.text[:end]
        assert read(*prefix) == read(prefix)


@every_short_case
def test_every_prefix_of_a_case_is_kept_and_buffered_no_longer_than_needed(
    case: Case,
) -> None:
    for end in range(0, len(case.text) + 1):
        check_against_reference(case.text[:end])
        check_promptness(case.text[:end])


@every_short_case
def test_what_was_streamed_of_a_case_is_never_taken_back(case: Case) -> None:
    """The output of a prefix, before its end is known, begins the whole output."""
    whole = read(case.text)
    reader, events = MarkupReader(), []
    for character in case.text:
        events += reader.feed(character)
        so_far = add_up(events)
        assert whole.content.startswith(so_far.content)
        assert len(so_far.calls) <= len(whole.calls)
        for call, final in zip(so_far.calls, whole.calls):
            assert call.name == final.name and final.arguments.startswith(call.arguments)


@settings(max_examples=1500, deadline=None)
@given(any_text, delta_sizes)
def test_any_text_is_read_the_same_however_it_is_split(text: str, sizes: list[int]) -> None:
    whole = read(text)
    assert read(*cut(text, sizes)) == whole
    assert read(*text) == whole


@settings(max_examples=1500, deadline=None)
@given(any_text)
def test_any_text_is_kept_and_buffered_no_longer_than_needed(text: str) -> None:
    check_against_reference(text)
    check_promptness(text)


@settings(max_examples=150, deadline=None)
@given(any_text, st.sampled_from([1, 3, 40, 10_000]))
def test_the_work_on_any_text_is_linear(text: str, size: int) -> None:
    check_work(pieces(text * 30, size))


@settings(max_examples=300, deadline=None)
@given(any_text.filter(lambda text: "<tool_call>" not in text))
def test_text_without_a_tag_is_content_verbatim(text: str) -> None:
    assert read(text) == Output(content=text)


prose = st.text("가나 \n.<>{}[]\"\\/_abt", max_size=20).filter(lambda text: "<tool_call>" not in text)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            prose,
            st.lists(
                st.tuples(st.text(max_size=8), st.dictionaries(st.text(max_size=4), json_values)),
                min_size=1,
                max_size=3,
            ),
        ),
        max_size=3,
    ),
    prose,
    st.booleans(),
    delta_sizes,
)
def test_well_formed_output_is_read_as_what_it_was_made_of(
    blocks: list[tuple[str, list[tuple[str, dict[str, object]]]]],
    last: str,
    ascii_only: bool,
    sizes: list[int],
) -> None:
    text, content, calls = "", "", []
    for before, objects in blocks:
        text += before + "<tool_call>\n"
        content += before.rstrip(" \n")
        for number, (name, arguments) in enumerate(objects):
            repairs = {"several_in_block"} if number else set()
            written = json.dumps(arguments, ensure_ascii=ascii_only)
            written_name = json.dumps(name, ensure_ascii=ascii_only)
            text += f'{{"name": {written_name}, "arguments": {written}}}\n'
            calls.append(Call(name, written, True, repairs))
        text += "</tool_call>"
    text += last
    content += last if last.strip(" \n") or not blocks else ""
    assert read(*cut(text, sizes)) == Output(content, calls)


def test_a_name_leaves_no_later_than_the_first_argument_character() -> None:
    reader = MarkupReader()
    assert reader.feed('<tool_call>{"name": "a", "arguments": ') == []
    assert reader.feed("{") == [CallStarted(0, "a"), ArgumentText(0, "{")]


def test_argument_text_leaves_in_the_delta_in_which_it_arrives() -> None:
    reader = MarkupReader()
    reader.feed('<tool_call>{"name": "a", "arguments": ')
    for character in '{"경로": "C:\\\\<tool_call>", "n": [1.0, tru]}':
        events = reader.feed(character)
        assert events[-2 if CallEnded(0) in events else -1] == ArgumentText(0, character)


def test_prose_is_buffered_only_while_it_may_be_a_tag_or_whitespace_before_one() -> None:
    reader = MarkupReader()
    assert reader.feed("a <b") == [ContentText("a <b")]
    assert reader.feed(" \n") == []
    assert reader.feed("<tool_cal") == []
    assert reader.feed("x") == [ContentText(" \n<tool_calx")]


def test_no_text_is_read_over_and_over() -> None:
    """Texts that a reader which starts again or looks back reads thousands of times."""
    size = 50_000
    for unit in [
        "<tool_call>",
        "<tool_call>{",
        '<tool_call>{"',
        '<tool_call>{"x": "',
        '<tool_call>{"arguments": [\\"',
        '<tool_call>{"arguments": ["',
        '<tool_call>{":":",',
        "<tool_call>[ ",
        "<",
        " ",
        "<tool_call>{ ",
        '<tool_call>{"name":"a","arguments":{}} x',
        '<tool_call>{"name":"a","arguments":{}}{',
        '<tool_call>{"name":"a","arguments":{',
        '<tool_call>{"name":"a","arguments":{},"" \n<tool_call>x',
        '<tool_call>{"name":"a","arguments":{} \n"<tool_call>x',
    ]:
        text = unit * (size // len(unit))
        for tail in ['"]}</tool_call>', ""]:
            check_work([text + tail])
            check_work(pieces(text + tail, 1000))


def test_a_megabyte_of_one_string_is_read() -> None:
    arguments = '{"x": "' + "가나다라 \\n" * 150_000 + '"}'
    text = f'<tool_call>{{"name": "a", "arguments": {arguments}}}</tool_call>'
    assert read(*pieces(text, 1000)).calls == [Call("a", arguments, ended=True)]


def test_the_state_can_be_printed() -> None:
    """Somebody who debugs sees where the reader is, how many calls it has read, what it holds."""
    reader, shown = MarkupReader(), []
    for delta in ["", " \n", '<tool_call>{"name": "a", "arguments": {"x": "', '"}}', "</tool_c"]:
        reader.feed(delta)
        shown.append(repr(reader))
    assert len(set(shown)) == len(shown)
    assert "calls=0, held=2" in shown[1] and "calls=1, held=0" in shown[2]
