"""Reading an output offline: the whole text, a stream, and ``LLM.chat``'s answers."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from devtools.conversations import CONVERSATIONS, Conversation

from midm_vllm.offline import ParsedOutput, parse, parse_stream

EXAMPLE = Path(__file__).parents[2] / "examples" / "offline_tools.py"
TEXT = (
    '찾아볼게요.\n<tool_call>{"name": "find", "arguments": {"city": "서울", "days": [1, 23]}}'
    '</tool_call>'
)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda each: each.name)
def test_a_whole_output_is_its_content_and_its_calls(conversation: Conversation) -> None:
    output = parse(conversation.text)
    assert output.content == (conversation.content or "")
    calls = [(call.name, call.arguments) for call in output.calls]
    assert calls == [(call.name, call.arguments) for call in conversation.calls]
    assert all(call.complete and isinstance(call.value, dict) for call in output.calls)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_stream_ends_with_the_result_of_the_whole_text(size: int) -> None:
    deltas = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    outputs = list(parse_stream(deltas))
    assert len(outputs) == len(deltas) + 1
    assert outputs[-1] == parse(TEXT)


def test_the_value_of_a_call_grows_while_it_arrives() -> None:
    values = [output.calls[0].value for output in parse_stream(TEXT) if output.calls]
    for growing in ({}, {"city": "서"}, {"city": "서울"}, {"city": "서울", "days": [1, 2]}):
        assert growing in values
    assert values[-1] == {"city": "서울", "days": [1, 23]}


def test_each_output_of_a_stream_is_its_own() -> None:
    first, *_, last = [output for output in parse_stream(TEXT) if output.calls]
    assert first.calls[0].arguments != last.calls[0].arguments


def test_a_call_that_was_cut_off_is_not_complete() -> None:
    [call] = parse(TEXT.partition(", 23")[0]).calls
    assert not call.complete
    assert call.value == {"city": "서울", "days": [1]}


@pytest.mark.parametrize("arguments", ["{'city': 1}", "[" * 20_000, '{"a": }'])
def test_arguments_that_are_not_json_have_no_value(arguments: str) -> None:
    [call] = parse(f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>').calls
    assert call.value is None
    assert call.arguments.startswith(arguments)


def test_results_are_pydantic_models() -> None:
    output = parse(TEXT)
    assert output.model_dump()["calls"][0]["value"] == {"city": "서울", "days": [1, 23]}
    assert ParsedOutput.model_validate_json(output.model_dump_json()) == output


def test_the_openai_message_has_null_content_where_there_is_only_a_call() -> None:
    assert parse(TEXT[TEXT.index("<") :]).to_openai() == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_0",
                "type": "function",
                "function": {"name": "find", "arguments": '{"city": "서울", "days": [1, 23]}'},
            }
        ],
    }


def test_reading_needs_no_vllm() -> None:
    code = (
        "import sys; sys.modules.update(vllm=None, torch=None, transformers=None)\n"
        "from midm_vllm.offline import parse; print(parse('hello').content)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "hello\n", done.stderr


@pytest.mark.slow
def test_the_example_calls_a_tool_with_llm_chat(checkpoint: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(checkpoint)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "convert_area" in done.stdout
    assert "약 25.41평입니다." in done.stdout


@pytest.mark.parametrize(
    "text",
    ["a<tool_call>", "말 ", '<tool_call>{"name": "f", "arguments": {}}</tool_call>'],
    ids=["openings", "prose", "calls"],
)
def test_the_outputs_of_a_stream_share_what_they_hold(text: str) -> None:
    """What all outputs of a stream take together grows as the stream does, not as its square."""

    def held(count: int) -> int:
        tracemalloc.start()
        outputs = list(parse_stream([text] * count))
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert outputs[-1] == parse(text * count)
        return size

    held(10)  # What is made once is made here.
    assert held(2_000) < 3 * held(1_000)


def test_an_output_does_not_change_while_the_stream_continues() -> None:
    text = TEXT * 3
    outputs = list(parse_stream(text))
    for end, output in enumerate(outputs[:-1], start=1):
        *_, then, _ = parse_stream([text[:end]] if end == 1 else [text[: end - 1], text[end - 1]])
        assert output == then
        assert output.model_dump() == then.model_dump()
