"""Answers of vLLM's Messages API, not streamed, whose calls hold no JSON object.

vLLM (0.11.2 to 0.33.0) reads the arguments with ``json.loads``, so a call that ``max_tokens`` cut
off turned the whole answer into a 400. Here the answer has what can be read of the arguments, as
Anthropic's clients make of a stream.
"""

from __future__ import annotations

import functools
import json
from types import ModuleType
from typing import Any

from midm_vllm.constants import STRUCTURAL_TAG_MODEL


def return_incomplete_calls(module: ModuleType) -> None:
    """Wrap the method of ``module.AnthropicServingMessages`` that makes the answer."""
    convert = module.AnthropicServingMessages.messages_full_converter

    @functools.wraps(convert)
    def messages_full_converter(self: Any, generator: Any, *more: Any, **named: Any) -> Any:
        is_cut_off = False
        if _has_our_parser(self):
            for call in generator.choices[0].message.tool_calls or ():
                arguments, is_complete = read_arguments(call.function.arguments)
                is_cut_off |= not is_complete
                if arguments is not None:
                    call.function.arguments = json.dumps(arguments, ensure_ascii=False)
        answer = convert(self, generator, *more, **named)
        if is_cut_off:  # The client must not run the call. vLLM takes every call for complete.
            stop = generator.choices[0].stop_reason
            is_text = isinstance(stop, str)
            answer.stop_reason = "stop_sequence" if is_text else "max_tokens"
            answer.stop_sequence = stop if is_text else None
        return answer

    module.AnthropicServingMessages.messages_full_converter = messages_full_converter


def read_arguments(text: str) -> tuple[dict[str, Any] | None, bool]:
    """What a call's arguments have to become, and whether they are complete.

    Returns:
        None where they are a JSON object already, else the object of the members that can be
        read: a string that was cut off is left out.
    """
    from pydantic_core import from_json

    try:
        return (None if isinstance(json.loads(text), dict) else {}), True
    except (ValueError, RecursionError):
        pass
    try:
        members = from_json(text, allow_partial=True) if text else {}
    except ValueError:
        return {}, True  # No beginning of JSON: the model ended the call, and wrote it wrong.
    return (members if isinstance(members, dict) else {}), False


def _has_our_parser(serving: Any) -> bool:
    parser = getattr(serving, "tool_parser", None)  # To 0.23.
    parser = parser or getattr(getattr(serving, "parser_cls", None), "tool_parser_cls", None)
    return getattr(parser, "structural_tag_model", None) == STRUCTURAL_TAG_MODEL
