"""The parser of one object and the text buffer under it, each by itself."""

from __future__ import annotations

import pytest

from midm_vllm.markup.call_parser import CallParser, End
from midm_vllm.markup.event_writer import EventWriter
from midm_vllm.markup.events import ArgumentText, CallEnded, CallRepaired, CallStarted, Repair
from midm_vllm.markup.text_buffer import TextBuffer


def parse(*deltas: str) -> tuple[End | None, str, EventWriter]:
    """How the object that the deltas begin with ends, the text behind it, and the events."""
    buffer, writer = TextBuffer(), EventWriter()
    buffer.append(deltas[0])
    parser = CallParser(buffer, writer)
    end = read_on(parser, buffer)
    for delta in deltas[1:]:
        if end is None:
            buffer.append(delta)
            end = read_on(parser, buffer)
    return end, buffer.text[buffer.position :], writer


def read_on(parser: CallParser, buffer: TextBuffer) -> End | None:
    end = None
    while end is None and buffer.position < len(buffer.text):
        end = parser.state(parser)
    return end


CALL = [CallStarted(0, "a"), ArgumentText(0, '{"x": 1}'), CallEnded(0)]


@pytest.mark.parametrize(("text", "end", "rest"), [
    ('{"name": "a", "arguments": {"x": 1}} tail', "closed", " tail"),
    ('{"name": "a", "arguments": {"x": 1}</tool_call>', "tag", "</tool_call>"),
    ('{"name": "a", "arguments": {"x": 1}, {"name"', "next object", '{"name"'),
    ('{"name": "a", "arguments": {"x": 1}, x', "broken", "x"),
    ('{"name": "a", "arguments": {"x": 1}, "b', None, ""),
])  # fmt: skip
def test_an_object_ends_in_one_of_four_ways(text: str, end: End | None, rest: str) -> None:
    for deltas in ([text], text):
        found, behind, writer = parse(*deltas)
        # Cut into characters, the parser returns before the rest has come.
        assert found == end and rest.startswith(behind)
        assert [type(event) for event in writer.events[:1]] == [CallStarted]
        assert CALL[2] in writer.events


def test_an_object_without_a_name_is_no_call() -> None:
    end, _, writer = parse('{"arguments": {}}')
    assert (end, writer.events, writer.index) == ("broken", [], -1)


def test_a_call_is_committed_with_its_first_argument() -> None:
    buffer, writer = TextBuffer(), EventWriter()
    buffer.append('{"name": "a", "arguments": ')
    parser = CallParser(buffer, writer, (Repair.ARRAY_OF_CALLS,))
    read_on(parser, buffer)
    assert (parser.is_committed, writer.events) == (False, [])
    buffer.append("{")
    read_on(parser, buffer)
    assert parser.is_committed
    assert writer.events == [
        CallStarted(0, "a"), CallRepaired(0, Repair.ARRAY_OF_CALLS), ArgumentText(0, "{"),
    ]  # fmt: skip


def test_a_repair_is_written_once_for_a_call() -> None:
    writer = EventWriter()
    for _ in range(2):
        writer.start_call("a")
        writer.repair(Repair.TRAILING_COMMA)
        writer.repair(Repair.TRAILING_COMMA)
    repaired = [event for event in writer.events if isinstance(event, CallRepaired)]
    assert repaired == [CallRepaired(index, Repair.TRAILING_COMMA) for index in (0, 1)]


def test_buffered_text_outlives_its_delta() -> None:
    buffer = TextBuffer()
    buffer.append("ab ")
    buffer.hold(1)
    buffer.append(" c")
    assert (buffer.held_length, buffer.take_stripped(1)) == (4, "b")
    assert (buffer.take_all(), buffer.held_length, buffer.is_holding) == ("  c", 0, False)


def test_buffered_text_is_read_again() -> None:
    buffer = TextBuffer()
    buffer.append("abc")
    buffer.hold(1)
    buffer.append("de")
    buffer.rewind()
    assert (buffer.text[buffer.position :], buffer.is_holding) == ("bcde", False)


def test_what_may_become_a_tag_waits_for_the_next_delta() -> None:
    buffer = TextBuffer()
    buffer.append("<b")
    assert not buffer.wait_for_tag()
    buffer.append("<tool")
    assert buffer.wait_for_tag() and (buffer.text, buffer.held_length) == ("", 5)
    buffer.append("_call>")
    assert buffer.is_at_tag()
