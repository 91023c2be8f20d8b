"""An explanation accounts for every character of an output, and agrees with the reader."""

from __future__ import annotations

import pytest
from devtools.cases.markup import CASES, Case
from devtools.cases.markup_laws import read
from hypothesis import given, settings
from markup_texts import any_text, every_short_case

from midm_vllm.markup.events import Repair
from midm_vllm.markup.explain import ExplainedCall, Explanation, Piece, ReadAs, explain

CONTENT = (ReadAs.TEXT, ReadAs.MARKUP_AS_TEXT)


def has_trained_format(explanation: Explanation) -> bool:
    return not explanation.markup_as_text and all(
        call.complete and not call.repairs for call in explanation.calls
    )


def check(text: str) -> None:
    explanation, output = explain(text), read(text)
    assert "".join(piece.text for piece in explanation.pieces) == text
    content = [piece.text for piece in explanation.pieces if piece.read_as in CONTENT]
    assert "".join(content) == output.content
    assert explanation.markup_as_text == len(output.cut_off_texts)
    assert explanation.cut_off_as_text == sum(output.cut_off_texts)
    assert [
        (call.name, call.arguments, call.complete, {repair.value for repair in call.repairs})
        for call in explanation.calls
    ] == [(call.name, call.arguments, call.ended, call.repairs) for call in output.calls]
    for index, call in enumerate(explanation.calls):
        written = "".join(
            piece.text for piece in explanation.pieces
            if (piece.read_as, piece.call) == (ReadAs.ARGUMENTS, index)
        )
        if Repair.ARGUMENTS_AS_TEXT not in call.repairs:
            assert written + call.added == call.arguments


@every_short_case
def test_case_and_its_prefixes_are_accounted_for(case: Case) -> None:
    for end in range(len(case.text) + 1):
        check(case.text[:end])


@settings(max_examples=500, deadline=None)
@given(any_text)
def test_any_text_is_accounted_for(text: str) -> None:
    check(text)


def test_pieces_of_a_repaired_output() -> None:
    explanation = explain('네. <tool_call>{"name": "f", "arguments": {"x": [1</tool_call>!')
    assert explanation.pieces == [
        Piece(ReadAs.TEXT, "네."),
        Piece(ReadAs.MARKUP, ' <tool_call>{"name": "f", "arguments": ', 0),
        Piece(ReadAs.ARGUMENTS, '{"x": [1', 0),
        Piece(ReadAs.MARKUP, "</tool_call>", 0),
        Piece(ReadAs.TEXT, "!"),
    ]
    assert explanation.calls == [
        ExplainedCall("f", '{"x": [1]}', True, [Repair.BRACKET_MISSING], added="]}")
    ]
    assert not has_trained_format(explanation)


def test_markup_that_is_text_is_distinguished_from_text() -> None:
    explanation = explain("Write <tool_call> here.")
    assert explanation.pieces == [
        Piece(ReadAs.TEXT, "Write"),
        Piece(ReadAs.MARKUP_AS_TEXT, " <tool_call>"),
        Piece(ReadAs.TEXT, " here."),
    ]


@pytest.mark.parametrize("name", ["one call", "plain text", "blocks one after the other"])
def test_a_well_formed_output_has_the_trained_format(name: str) -> None:
    [text] = [case.text for case in CASES if case.id == name]
    assert has_trained_format(explain(text))


def test_a_truncated_call_has_not_the_trained_format() -> None:
    assert not has_trained_format(explain('<tool_call>{"name": "f", "arguments": {"x'))


def test_long_arguments_are_explained() -> None:
    arguments = '{"x": "' + "가" * 100_000 + '"}'
    [call] = explain(f'<tool_call>{{"name": "f", "arguments": {arguments}}}').calls
    assert call.arguments == arguments


def test_long_buffered_text_is_explained() -> None:
    """Half a megabyte in the buffer: minutes, if its length were added up each time."""
    text = '<tool_call>{"x": "' + "가" * 500_000
    assert explain(text).pieces == [Piece(ReadAs.MARKUP_AS_TEXT, text)]
