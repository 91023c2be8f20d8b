"""What clients get from vLLM's own chat serving, in whichever release this runs.

`scripts/releases/matrix.py` runs this file in every supported release.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from devtools.cases.markup import CASES
from devtools.chat_completions import (
    RESPONSE_SAYS_CUT_OFF, STREAM_SAYS_CUT_OFF, Answer, cut_off_reason
)
from release_serving import END_OF_TEXT, Serving

from midm_vllm.compat.vllm_imports import ToolParser
from midm_vllm.markup.events import ArgumentText, CallStarted, ContentText
from midm_vllm.markup.reader import MarkupReader

#: From 0.24 vLLM tells a parser that its stream has ended.
TELLS_THE_END = hasattr(ToolParser, "engine_based_streaming")


def is_text(text: str) -> bool:
    """Whether a server can send it: a lone surrogate has no UTF-8."""
    return text == text.encode("utf-8", "ignore").decode("utf-8")


TEXTS = {case.id: case.text for case in CASES if is_text(case.text)}
SHORT = 2_000
NAMED = {"type": "function", "function": {"name": "a"}}


def read(text: str, finish: bool = True) -> Answer:
    """The answer that the markup reader gives, reading everything at once."""
    reader = MarkupReader()
    answer = Answer(finish_reason="stop")
    for event in reader.feed(text) + (reader.finish() if finish else []):
        if isinstance(event, ContentText):
            answer.content += event.text
        elif isinstance(event, CallStarted):
            answer.calls.append((event.name, ""))
            answer.finish_reason = "tool_calls"
        elif isinstance(event, ArgumentText):
            name, arguments = answer.calls[event.index]
            answer.calls[event.index] = name, arguments + event.text
    return answer


def cut_off(answer: Answer, says_so: bool) -> Answer:
    return replace(answer, finish_reason=cut_off_reason(answer, says_so))


def cut(text: str, *positions: int) -> list[str]:
    """The deltas of a text cut at these positions."""
    edges = [0, *sorted(positions), len(text)]
    return [text[start:end] for start, end in zip(edges, edges[1:])]


def splits(text: str) -> Iterator[list[str]]:
    """A text as one delta, in equal deltas, in random ones, and with last deltas of any size."""
    yield [text]
    yield [text, ""]
    for size in (1, 5) if len(text) <= SHORT else (1_000,):
        yield cut(text, *range(size, len(text), size))
    shuffled = random.Random(text)
    for _ in range(2):
        cuts = shuffled.randint(0, min(len(text), 12))
        yield cut(text, *(shuffled.randint(0, len(text)) for _ in range(cuts)))
    for _ in range(4):
        yield cut(text, shuffled.randint(0, len(text)))


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    with closing(Serving()) as running:
        yield running


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_stream_adds_up_to_what_the_reader_reads(serving: Serving, text: str) -> None:
    expected = read(text)
    for deltas in splits(text):
        assert serving.stream(deltas) == [expected], deltas


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_whole_response_is_what_the_reader_reads(serving: Serving, text: str) -> None:
    assert serving.complete(text) == read(text)
    expected = cut_off(read(text), RESPONSE_SAYS_CUT_OFF)
    assert serving.complete(text, finish_reason="length") == expected


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_truncated_stream_loses_at_most_the_buffered_text(serving: Serving, text: str) -> None:
    expected = cut_off(read(text, finish=TELLS_THE_END), STREAM_SAYS_CUT_OFF)
    for deltas in splits(text):
        assert serving.stream(deltas, finish_reason="length") == [expected], deltas


def test_choices_streamed_together_do_not_mix(serving: Serving) -> None:
    texts = [text for text in TEXTS.values() if 0 < len(text) <= SHORT]
    for text, other in zip(texts, reversed(texts)):
        deltas, others = cut(text, *range(1, len(text))), cut(other, *range(3, len(other), 3))
        assert serving.stream(deltas, others, [text]) == [read(text), read(other), read(text)]


def test_without_a_choice_of_tools_markup_is_text(serving: Serving) -> None:
    for text in TEXTS.values():
        expected = [Answer(text, finish_reason="stop")]
        assert serving.stream([text], tool_choice="none") == expected
        assert [serving.complete(text, tool_choice="none")] == expected


@pytest.mark.parametrize("text", ["a \n", "a <tool_c", '<tool_call>{"name": "a"'])
def test_either_end_token_flushes_the_buffered_text(
    serving: Serving, text: str
) -> None:
    assert serving.stream(list(text), end=END_OF_TEXT) == [read(text)]


@pytest.mark.skipif(TELLS_THE_END, reason="tested by what the model is constrained by")
@pytest.mark.parametrize(
    "choice, text",
    [("required", '[{"name": "a", "parameters": {"x": 1.0}}]'), (NAMED, '{"x": 1.0}')],
)
def test_before_0_24_vllm_reads_required_and_named_calls_from_json(
    serving: Serving, choice: str | dict[str, object], text: str
) -> None:
    assert serving.complete(text, tool_choice=choice).calls == [("a", '{"x": 1.0}')]


@pytest.mark.parametrize("choice", ["auto", "required", "none", NAMED])
def test_special_tokens_stay_in_the_text_where_calls_are_read(
    serving: Serving, choice: str | dict[str, object]
) -> None:
    request = serving.request(tool_choice=choice)
    adjusted = serving.parser(request).adjust_request(request)
    assert (adjusted.skip_special_tokens is False) == (choice != "none")
