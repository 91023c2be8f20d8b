"""Which repairs the reader reports for outputs that depart from the trained form."""

from __future__ import annotations

import pytest
from devtools.cases.markup import CASES, Case
from devtools.cases.markup_laws import read

from midm_vllm.markup.events import CallEnded, CallRepaired, Repair
from midm_vllm.markup.reader import MarkupReader

#: Case of the table -> the repairs of each of its calls. Calls of other cases have none.
REPAIRS: dict[str, list[set[str]]] = {
    "the history's form": [{"parameters_key"}, {"parameters_key", "several_in_block"}],
    "an array of calls": [{"array_of_calls"}, {"array_of_calls"}],
    "commas between objects": [set(), {"several_in_block"}],
    "arguments in a string before the name": [{"arguments_as_text"}],
    "null before the name": [{"arguments_missing"}],
    "arguments repeated after the call is certain": [{"member_repeated"}],
    "no arguments": [{"arguments_missing"}],
    "null arguments": [{"arguments_missing"}],
    "an empty string as arguments": [{"arguments_as_text", "arguments_missing"}],
    "arguments that are a list, a number, true and nearly null": [
        set(), {"several_in_block"}, {"several_in_block"}, {"several_in_block"},
    ],
    "arguments in a string": [{"arguments_as_text"}],
    "escapes that stand for no character": [{"arguments_as_text"}],
    "10,000 open brackets": [{"bracket_missing"}],
    "no closing tag": [{"closing_tag_missing"}],
    "no closing tag before the next block": [{"closing_tag_missing"}, set()],
    "a brace too few": [{"bracket_missing"}],
    "a brace too few before the next object": [{"bracket_missing"}, {"several_in_block"}],
    "a brace too few, without arguments": [{"arguments_missing", "bracket_missing"}],
    "arguments closed too early": [{"bracket_missing"}],
    "arguments closed too early by the next block": [
        {"bracket_missing", "closing_tag_missing"}, {"arguments_missing"},
    ],
    "closers too many": [{"bracket_too_many"}],
    "words behind a call in its block": [{"text_in_block"}],
    "an object that breaks behind its arguments": [{"text_in_block"}],
    "an object that breaks, whitespace, and a block": [
        {"closing_tag_missing"}, {"closing_tag_missing", "text_in_block"}, {"arguments_missing"},
    ],
    "an object that breaks behind its arguments, before a tag in prose": [
        {"closing_tag_missing", "text_in_block"}
    ],
    "a trailing comma behind the arguments": [{"trailing_comma"}],
    "cut off in the second object": [{"closing_tag_missing"}],
    "cut off in the closing tag": [{"closing_tag_missing"}],
}  # fmt: skip

#: Case -> whether the output's end decided it, for all that began as a call and is text.
AS_TEXT: dict[str, list[bool]] = {
    "the tag in an explanation": [False],
    "an empty block": [False],
    "an empty array": [False],
    "an empty object": [False],
    "an array of strings": [False],
    "no name": [False],
    "a name that is no string": [False],
    "JSON broken before the name": [False],
    "a missing quote before the arguments": [False],
    "a trailing comma before the call is certain": [False],
    "arguments and parameters": [False],
    "arguments that are no JSON value": [False],
    "arguments missing behind their colon": [False],
    "a tag in prose, then a call": [False],
    "a tag, whitespace, and a block": [False],
    "a call in a broken object's string": [False],
    "a broken block, then a good one": [False],
    "a backslash outside a string, without a name": [False, False],
    "a bad object behind a good one": [False],
    "an object that breaks, whitespace, and a block": [False],
    "an object that breaks behind its arguments, before a tag in prose": [False],
    "cut off before the arguments": [True],
    "cut off in the second object": [True],
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_repairs_of_a_case_match_the_table(case: Case) -> None:
    output = read(case.text)
    expected = REPAIRS.get(case.id, [set() for _ in case.calls])
    assert [call.repairs for call in output.calls] == expected
    assert output.cut_off_texts == AS_TEXT.get(case.id, [])


def test_the_tables_name_cases() -> None:
    assert REPAIRS.keys() | AS_TEXT.keys() <= {case.id for case in CASES}


def test_every_repair_is_in_the_table() -> None:
    assert set().union(*(repairs for case in REPAIRS.values() for repairs in case)) == {
        repair.value for repair in Repair
    }


@pytest.mark.parametrize(
    ("text", "repairs"),
    [
        (
            '[{"name": "a", "arguments": {}',
            {"array_of_calls", "bracket_missing", "closing_tag_missing"},
        ),
        ('[{"name": "a", "arguments": {}}</tool_call>', {"array_of_calls", "bracket_missing"}),
        ('[{"name": "a", "arguments": {}]</tool_call>', {"array_of_calls", "bracket_missing"}),
        ('[{"name": "a", "arguments": {}}] ]</tool_call>', {"array_of_calls", "bracket_too_many"}),
        ('{"name": "a", "arguments": {}, ]</tool_call>', {"bracket_missing"}),
        ('{"name": "b", "name": "a", "arguments": {}}</tool_call>', {"member_repeated"}),
        ('{"name": "a", "arguments": {}} <tool_c', {"text_in_block", "closing_tag_missing"}),
        ('{"name": "a", "arguments": {"x": 1', set()),
    ],
)  # fmt: skip
def test_one_call_can_have_several_repairs(text: str, repairs: set[str]) -> None:
    [call] = read("<tool_call>" + text).calls
    assert (call.name, call.repairs) == ("a", repairs)


def test_a_repair_is_reported_as_soon_as_it_is_known() -> None:
    reader = MarkupReader()
    events = reader.feed('<tool_call>{"parameters": "", "name": "a"')
    assert events[1:3] == [
        CallRepaired(0, Repair.PARAMETERS_KEY), CallRepaired(0, Repair.ARGUMENTS_AS_TEXT),
    ]  # fmt: skip
    assert events[-1] == CallEnded(0)
    assert reader.feed("}}") == [CallRepaired(0, Repair.BRACKET_TOO_MANY)]
    assert reader.feed("}}") == []
