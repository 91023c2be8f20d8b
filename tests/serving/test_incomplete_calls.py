"""The Messages API, not streamed: what becomes of arguments that are no complete JSON object."""

from __future__ import annotations

import json
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from midm_vllm.serving.requests.messages_api import read_arguments, return_incomplete_calls
from midm_vllm.serving.tool_parser import MidmToolParser


@pytest.mark.parametrize(("text", "expected"), [
    ('{"a": 1}', (None, True)),
    ("{}", (None, True)),
    ('{"a": {"b": [1, 2', ({"a": {"b": [1, 2]}}, False)),
    ('{"path": "x", "content": "half of th', ({"path": "x"}, False)),
    ('{"a": 1, "b', ({"a": 1}, False)),
    ("{", ({}, False)),
    ("", ({}, False)),
    ("[1, 2", ({}, False)),
    ("[1]", ({}, True)),
    ("5", ({}, True)),
    ("null", ({}, True)),
    ("{'a': 1}", ({}, True)),
    ('{"a" 1}', ({}, True)),
    ("[" * 100_000, ({}, True)),
])
def test_of_arguments_what_can_be_read_is_kept(text: str, expected: Any) -> None:
    assert read_arguments(text) == expected


class OtherParser:
    pass


def answer(parser: type, arguments: str, stop: Any = None) -> Any:
    """What vLLM's way of reading a call's arguments makes of them, behind our wrapper."""

    class AnthropicServingMessages:
        parser_cls = SimpleNamespace(tool_parser_cls=parser)

        def messages_full_converter(self, generator: Any) -> Any:
            [call] = generator.choices[0].message.tool_calls
            read = json.loads(call.function.arguments)
            return SimpleNamespace(input=read, stop_reason="tool_use", stop_sequence=None)

    module = ModuleType("serving")
    setattr(module, "AnthropicServingMessages", AnthropicServingMessages)
    return_incomplete_calls(module)
    call = SimpleNamespace(function=SimpleNamespace(name="look", arguments=arguments))
    choice = SimpleNamespace(message=SimpleNamespace(tool_calls=[call]), stop_reason=stop)
    return AnthropicServingMessages().messages_full_converter(SimpleNamespace(choices=[choice]))


@pytest.mark.parametrize(("arguments", "stop", "expected"), [
    ('{"a": 1}', None, ({"a": 1}, "tool_use", None)),
    ("[1]", None, ({}, "tool_use", None)),
    ('{"a": 1, "b": "x', None, ({"a": 1}, "max_tokens", None)),
    ('{"a": 1, "b": "x', 5, ({"a": 1}, "max_tokens", None)),
    ('{"a": 1, "b": "x', "END", ({"a": 1}, "stop_sequence", "END")),
    ('{"a": 1}', "END", ({"a": 1}, "tool_use", None)),
])
def test_a_call_that_was_cut_off_is_not_to_be_run(
    arguments: str, stop: Any, expected: tuple[Any, ...]
) -> None:
    given = answer(MidmToolParser, arguments, stop)
    assert (given.input, given.stop_reason, given.stop_sequence) == expected


def test_other_parsers_answers_stay_vllms() -> None:
    assert answer(OtherParser, '{"a": 1}').input == {"a": 1}
    with pytest.raises(json.JSONDecodeError):
        answer(OtherParser, '{"a": ')
