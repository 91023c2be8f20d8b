"""Builds and validates the grammar of a request in a thread, before vLLM needs it.

vLLM requests the grammar (``adjust_request``) and validates it (``SamplingParams.verify``) in its
event loop, where every stream waits. Compiling large schemas takes some 0.1 s. A thread does both
one step earlier, where only this request waits. Each grammar is validated once: agents send the
same tools with every request.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import ModuleType
from typing import Any

from cachetools import LRUCache

from midm_vllm.constants import GRAMMAR_BACKEND, STRUCTURAL_TAG_MODEL

#: The size of a small request's schemas: their characters, and 20 for each value.
_SMALL = 10_000
#: llguidance compiles deep schemas by recursion and ends the process where 2 MB of stack are not
#: enough. A thread has no more under ``ulimit -s unlimited``.
_STACK_BYTES = 16 * 1024 * 1024


class _Threads:
    """One thread for small requests and one for large ones, so that no small one waits long."""

    def __init__(self) -> None:
        self.start()
        # A forked process has no thread of its parent's, and would wait for it forever.
        os.register_at_fork(after_in_child=self.start)

    def start(self) -> None:
        self.small = ThreadPoolExecutor(1, "midm-grammar")
        self.large = ThreadPoolExecutor(1, "midm-grammar-large")

    def run(
        self, schemas: Collection[Any], function: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """Run a function in the thread for these schemas."""
        before = threading.stack_size(_STACK_BYTES)  # Of the thread that this may start.
        try:
            loop = asyncio.get_running_loop()
            return loop.run_in_executor(self.thread_for(schemas), function, *arguments)
        finally:
            threading.stack_size(before)

    def thread_for(self, schemas: Collection[Any]) -> ThreadPoolExecutor:
        return self.small if _is_small(schemas) else self.large


def _is_small(schemas: Collection[Any]) -> bool:
    """Whether the schemas are small; stops reading where they are not."""
    left, open_ = _SMALL, [schemas]
    while open_:
        value = open_.pop()
        if isinstance(value, (str, dict, list)):
            left -= len(value)
        left -= 20
        if left < 0:
            return False
        if isinstance(value, dict):
            left -= sum(len(str(key)) for key in value)
            open_ += value.values()
        elif isinstance(value, list):
            open_ += value
    return True


_threads = _Threads()
#: What was built for the requests that are being prepared, by identity and strict level: a
#: grammar, None for none, or the error to answer with.
_prefetched: dict[tuple[int, int], str | ValueError | None] = {}
#: How many characters of grammars are kept that vLLM's validation has accepted.
_VALID_SIZE = 20_000_000


def install_validation_cache(module: ModuleType) -> None:
    """Have vLLM's module of the backend ``guidance`` validate each grammar once."""
    validate = module.validate_guidance_grammar
    # Not cachetools' decorator, which every other model's server would import.
    valid: LRUCache[str, str] = LRUCache(_VALID_SIZE, len)
    lock = threading.Lock()

    @functools.wraps(validate)
    def validate_guidance_grammar(sampling_params: Any, tokenizer: Any = None) -> None:
        outputs = getattr(sampling_params, "structured_outputs", None)
        grammar = getattr(outputs, "grammar", None)
        if tokenizer is not None or not isinstance(grammar, str):
            validate(sampling_params, tokenizer)
            return
        with lock:
            is_valid = valid.get(grammar) is not None
        if not is_valid:
            validate(sampling_params)
            with lock, suppress(ValueError):  # It is larger than all may be.
                valid[grammar] = grammar

    module.validate_guidance_grammar = validate_guidance_grammar  # type: ignore[attr-defined]


def install_prefetch(module: Any) -> None:
    """Have vLLM's class that prepares chat requests build grammars in a thread first."""
    renderer_class = getattr(module, "OnlineRenderer", None) or module.OpenAIServingRender
    prepare = renderer_class.preprocess_chat

    @functools.wraps(prepare)
    async def preprocess_chat(self: Any, request: Any, *arguments: Any, **named: Any) -> Any:
        parser = getattr(self, "parser", None)
        tool_parser = getattr(parser, "tool_parser_cls", None)
        is_ours = getattr(tool_parser, "structural_tag_model", None) == STRUCTURAL_TAG_MODEL
        if not (is_ours and getattr(request, "tools", None)):
            return await prepare(self, request, *arguments, **named)
        level = int(getattr(parser, "tool_strict_level", None) or 0)  # None from 0.33.
        try:
            await _prefetch(request, level, self.renderer.get_tokenizer())
            return await prepare(self, request, *arguments, **named)
        finally:
            _prefetched.pop((id(request), level), None)

    renderer_class.preprocess_chat = preprocess_chat


def grammar_of(request: Any, choice: Any, level: int, tokenizer: Any) -> str | None:
    """What ``request_grammar.answer_grammar`` returns or raises, built before or now."""
    from midm_vllm.serving.constraints.request_grammar import answer_grammar

    if (id(request), level) not in _prefetched:
        return answer_grammar(request, choice, level, tokenizer)
    built = _prefetched[id(request), level]
    if isinstance(built, ValueError):
        raise built
    return built


async def _prefetch(request: Any, level: int, tokenizer: Any) -> None:
    """Build and validate a request's grammar in a thread, if it needs one."""
    from midm_vllm.serving.constraints.grammar_backend import configured_backend
    from midm_vllm.serving.constraints.request_grammar import needs_grammar, schemas_of
    from midm_vllm.serving.requests.tool_choice import read_tool_choice

    try:
        choice = read_tool_choice(request)
    except ValueError:
        return  # vLLM reads it next, and answers with the error.
    if configured_backend() == GRAMMAR_BACKEND and needs_grammar(request, choice, level):
        _prefetched[id(request), level] = await _threads.run(
            schemas_of(request, choice), _build, request, choice, level, tokenizer
        )


def _build(request: Any, choice: Any, level: int, tokenizer: Any) -> str | ValueError | None:
    from midm_vllm.compat.vllm_imports import (
        SamplingParams,
        StructuredOutputsParams,
        validate_guidance_grammar,
    )
    from midm_vllm.serving.constraints.request_grammar import answer_grammar

    try:
        grammar = answer_grammar(request, choice, level, tokenizer)
    except ValueError as error:
        return error
    if grammar is not None:
        outputs = StructuredOutputsParams(grammar=grammar)
        with suppress(ValueError):  # vLLM validates it next, and answers with the error.
            validate_guidance_grammar(SamplingParams(structured_outputs=outputs))
    return grammar
