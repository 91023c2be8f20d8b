"""A request's grammar is made in a thread of its own before vLLM asks for it, and checked once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from importlib import import_module
from threading import Event
from types import ModuleType
from typing import Any

import pytest
from devtools.preparing import Prefetching, Preparing
from engine_configs import serve_with
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.sampling_params import SamplingParams, StructuredOutputsParams

from midm_vllm.compat.vllm_imports import GUIDANCE_BACKEND, ONLINE_RENDERER
from midm_vllm.plugin import register
from midm_vllm.serving.constraints import grammar_prefetch, request_grammar
from midm_vllm.serving.constraints.request_grammar import UnsupportedSchema, _warn_once, logger
from midm_vllm.serving.constraints.grammar_prefetch import install_validation_cache

register()


@pytest.fixture(autouse=True)
def _guidance(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a server that was started with the parser's defaults."""
    serve_with("guidance", monkeypatch)


@pytest.fixture
def preparing() -> Any:
    return Prefetching()


def request(parameters: Any, **more: Any) -> ChatCompletionRequest:
    function = {"name": "f", "parameters": parameters, **more}
    return ChatCompletionRequest.model_validate({
        "model": "m", "messages": [{"role": "user", "content": "?"}], "tool_choice": "required",
        "tools": [{"type": "function", "function": function}],
    })


CONTAINS = {"type": "object", "properties": {"a": {"type": "array", "contains": {"const": 1}}}}


def test_the_schemas_are_read_in_the_thread(preparing: Any) -> None:
    _warn_once.cache_clear()  # So that what is left free is said again, where it is read.
    threads = []

    def note(record: logging.LogRecord) -> bool:
        threads.append(record.threadName or "")
        return True

    logger.addFilter(note)
    try:
        asked = asyncio.run(preparing.preprocess_chat(request(CONTAINS)))
    finally:
        logger.removeFilter(note)
    [thread] = threads
    assert thread.startswith("midm-grammar")
    assert "arguments0: %json" in asked.structured_outputs.grammar


def test_the_grammar_is_that_of_a_request_that_is_not_prefetched(preparing: Any) -> None:
    plain = asyncio.run(Preparing().preprocess_chat(request(CONTAINS)))
    ahead = asyncio.run(preparing.preprocess_chat(request(CONTAINS)))
    assert ahead.structured_outputs.grammar == plain.structured_outputs.grammar


def test_requests_side_by_side_get_their_own_grammar(preparing: Any) -> None:
    async def both() -> list[Any]:
        return await asyncio.gather(*(
            preparing.preprocess_chat(request({"properties": {name: {}}}))
            for name in ("first", "second")
        ))

    first, second = asyncio.run(both())
    assert '"first"' in first.structured_outputs.grammar
    assert '"second"' in second.structured_outputs.grammar


def test_a_strict_tool_is_rejected_when_vllm_adjusts_the_request(preparing: Any) -> None:
    with pytest.raises(UnsupportedSchema, match="'f'.*'contains'"):
        asyncio.run(preparing.preprocess_chat(request(CONTAINS, strict=True)))


LARGE = [
    {"type": "object", "properties": {f"m{i}": {"const": i} for i in range(1000)}},
    {"type": "object", "properties": {"a": {"const": "x" * 20_000}}},
]


async def prepared_during(
    slow: Any, quick: Any, preparing: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """`quick`, prepared while the grammar of `slow` is being built."""
    building, go_on = Event(), Event()
    build = request_grammar.answer_grammar

    def build_slowly(request: Any, *more: Any) -> str | None:
        if request is slow:
            building.set()
            assert go_on.wait(60)
        return build(request, *more)

    monkeypatch.setattr(request_grammar, "answer_grammar", build_slowly)
    waiting = asyncio.ensure_future(preparing.preprocess_chat(slow))
    assert await asyncio.to_thread(building.wait, 60)
    try:
        return await asyncio.wait_for(preparing.preprocess_chat(quick), 60)
    finally:
        go_on.set()
        await waiting


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_who_needs_no_grammar_does_not_wait_for_those_of_others(
    preparing: Any, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = request(CONTAINS).model_copy(update={"tool_choice": choice})
    prepared = prepared_during(request(CONTAINS), plain, preparing, monkeypatch)
    assert asyncio.run(prepared).structured_outputs is None


@pytest.mark.parametrize("large", LARGE, ids=["many members", "a long text"])
def test_a_small_request_does_not_wait_for_large_ones(
    preparing: Any, large: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepared_during(request(large), request(CONTAINS), preparing, monkeypatch)
    assert asyncio.run(prepared).structured_outputs.grammar


def test_the_threads_have_stack_for_deep_schemas(
    preparing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, submit = [], grammar_prefetch._threads.small.submit

    def noting(*more: Any) -> Any:
        sizes.append(threading.stack_size())
        return submit(*more)

    monkeypatch.setattr(grammar_prefetch._threads.small, "submit", noting)
    before = threading.stack_size()
    asyncio.run(preparing.preprocess_chat(request(CONTAINS)))
    assert sizes == [16 * 1024 * 1024] and threading.stack_size() == before


def test_a_forked_process_has_threads_of_its_own(preparing: Any) -> None:
    asyncio.run(preparing.preprocess_chat(request(CONTAINS)))
    child = os.fork()
    if not child:
        signal.alarm(60)  # The child ends if it waits for its parent's thread.
        asyncio.run(preparing.preprocess_chat(request({"properties": {"child": {}}})))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_the_requests_of_other_parsers_are_left_alone() -> None:
    class Other:
        tool_parser_cls = object

        def __init__(self, *arguments: Any) -> None:
            pass

        def adjust_request(self, request: Any) -> Any:
            return request

    asked = request(CONTAINS)
    assert asyncio.run(Prefetching(Other).preprocess_chat(asked)) is asked


def test_vllms_own_class_prefetches() -> None:
    module = import_module(ONLINE_RENDERER)
    assert hasattr(module.OnlineRenderer.preprocess_chat, "__wrapped__")
    assert hasattr(import_module(GUIDANCE_BACKEND).validate_guidance_grammar, "__wrapped__")


def test_a_valid_grammar_is_checked_once_and_an_invalid_one_each_time() -> None:
    asked: list[str] = []

    def check(sampling_params: Any, tokenizer: Any = None) -> None:
        asked.append(sampling_params.structured_outputs.grammar)
        if asked[-1].startswith("bad"):
            raise ValueError("bad")

    module = ModuleType("backend")
    vars(module)["validate_guidance_grammar"] = check
    install_validation_cache(module)

    def ask(grammar: str, *tokenizer: Any) -> None:
        parameters = SamplingParams(structured_outputs=StructuredOutputsParams(grammar=grammar))
        module.validate_guidance_grammar(parameters, *tokenizer)

    for _ in range(2):
        ask('start: "checked once"')
        ask('start: "with a tokenizer"', object())
        with pytest.raises(ValueError, match="bad"):
            ask("bad")
    assert sorted(asked) == ["bad"] * 2 + ['start: "checked once"'] + [
        'start: "with a tokenizer"'] * 2


def test_of_the_valid_grammars_the_least_recently_used_is_forgotten(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar_prefetch, "_VALID_SIZE", 10)
    asked: list[str] = []
    module = ModuleType("backend")
    vars(module)["validate_guidance_grammar"] = lambda parameters: asked.append(
        parameters.structured_outputs.grammar
    )
    install_validation_cache(module)
    for grammar in ("aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb", "more than all", "aaaa"):
        module.validate_guidance_grammar(
            SamplingParams(structured_outputs=StructuredOutputsParams(grammar=grammar))
        )
    # Before "cccc", "aaaa" was used later than "bbbb".
    assert asked == ["aaaa", "bbbb", "cccc", "bbbb", "more than all"]
