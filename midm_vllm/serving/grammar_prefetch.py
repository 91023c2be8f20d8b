"""A request's grammar, made and checked in a thread before vLLM asks for it in its event loop.

vLLM asks for it (``adjust_request``) and checks it (``SamplingParams.verify``) where every stream
of the server waits for the end of it. The first reading of large schemas takes some 0.1 s; here it
is read one step earlier, where vLLM waits for the request alone, and the check of a
grammar that has been checked is not repeated: agents send the same tools with every request.
Where a release of vLLM has no such step, it is all done when vLLM asks.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from midm_vllm.constrained.lru_cache import LRUCache
from midm_vllm.constants import STRUCTURAL_TAG_MODEL

#: How many characters are few for a request's schemas; a value counts as 20 and its own.
_FEW = 10_000
#: llguidance reads deep schemas by recursion and ends the process where 2 MB are not enough: a
#: thread has no more under ``ulimit -s unlimited``.
_STACK = 16 * 1024 * 1024


class _Threads:
    """One for each size of requests: hostile ones wait for each other, and nobody for them all."""

    def __init__(self) -> None:
        self.start()
        # A process that is forked has no thread of its parent's, and would wait for it forever.
        os.register_at_fork(after_in_child=self.start)

    def start(self) -> None:
        self.small = ThreadPoolExecutor(1, "midm-grammar")
        self.large = ThreadPoolExecutor(1, "midm-grammar-large")

    def run(self, request: Any, make: Callable[..., Any], *more: Any) -> asyncio.Future[Any]:
        """Have the request's thread make its grammar."""
        before = threading.stack_size(_STACK)  # Of the thread that this may start.
        try:
            loop = asyncio.get_running_loop()
            return loop.run_in_executor(self.of(request), make, *more)
        finally:
            threading.stack_size(before)

    def of(self, request: Any) -> ThreadPoolExecutor:
        """The thread that makes a request's grammar."""
        from midm_vllm.serving.request_grammar import schemas_of

        return self.small if _is_small(schemas_of(request)) else self.large


def _is_small(schemas: Collection[Any]) -> bool:
    """Whether there is little in them; looks at no more than little."""
    left, open_ = _FEW, [schemas]
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


@dataclass(frozen=True)
class _Made:
    """A grammar that was made for a request, or why there is none."""

    request: Any
    level: int
    grammar: str | None
    error: ValueError | None = None


_made: ContextVar[_Made | None] = ContextVar("midm_grammar", default=None)


def grammar_of(request: Any, level: int, tokenizer: Any) -> str | None:
    """What ``request_grammar.answer_grammar`` says, made ahead or now."""
    from midm_vllm.serving.request_grammar import answer_grammar

    made = _made.get()
    if made is None or made.request is not request or made.level != level:
        return answer_grammar(request, level, tokenizer)
    if made.error is not None:
        raise made.error
    return made.grammar


#: The grammars that vLLM's check has passed.
_checked: LRUCache[str] = LRUCache(20_000_000, len)


def skip_known_grammars(module: ModuleType) -> None:
    """Have vLLM's backend ``guidance`` check a grammar once."""
    check = module.validate_guidance_grammar

    @functools.wraps(check)
    def validate_guidance_grammar(sampling_params: Any, tokenizer: Any = None) -> None:
        outputs = getattr(sampling_params, "structured_outputs", None)
        grammar = getattr(outputs, "grammar", None)
        if tokenizer is None and isinstance(grammar, str):
            if _checked.get(grammar) is None:
                check(sampling_params)
                _checked.put(grammar, grammar)
        else:
            check(sampling_params, tokenizer)

    module.validate_guidance_grammar = validate_guidance_grammar  # type: ignore[attr-defined]


def read_ahead(module: ModuleType) -> None:
    """Have a module's classes that prepare chat requests make the grammar ahead."""
    for kind in list(vars(module).values()):
        prepare = vars(kind).get("preprocess_chat") if isinstance(kind, type) else None
        if prepare is not None and inspect.iscoroutinefunction(prepare):
            setattr(kind, "preprocess_chat", _reading_ahead(prepare))


def _reading_ahead(prepare: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(prepare)
    async def preprocess_chat(self: Any, request: Any, *more: Any, **named: Any) -> Any:
        parsers = [each for each in (*more, *named.values()) if hasattr(each, "tool_parser_cls")]
        kind = parsers[0].tool_parser_cls if parsers else None
        is_ours = getattr(kind, "structural_tag_model", None) == STRUCTURAL_TAG_MODEL
        if not (is_ours and getattr(request, "tools", None)):
            return await prepare(self, request, *more, **named)
        level = int(getattr(parsers[0], "tool_strict_level", 0))
        if not _is_wanted(request, level):
            return await prepare(self, request, *more, **named)
        tokenizer = self.renderer.get_tokenizer()
        token = _made.set(await _threads.run(request, _make, request, level, tokenizer))
        try:
            return await prepare(self, request, *more, **named)
        finally:
            _made.reset(token)

    return preprocess_chat


def _is_wanted(request: Any, level: int) -> bool:
    """Whether there is a grammar to make; who needs none waits for nobody's."""
    from midm_vllm.serving.request_grammar import has_our_backend, wants_grammar

    try:
        return has_our_backend() and wants_grammar(request, level)
    except ValueError:
        return False  # vLLM asks itself, and answers with it.


def _make(request: Any, level: int, tokenizer: Any) -> _Made:
    from midm_vllm.serving.request_grammar import answer_grammar

    try:
        grammar = answer_grammar(request, level, tokenizer)
    except ValueError as error:  # vLLM is to answer with it, as it does where it asks itself.
        return _Made(request, level, None, error)
    if grammar is not None:
        _check(grammar)
    return _Made(request, level, grammar)


def _check(grammar: str) -> None:
    from midm_vllm.compat.vllm_imports import (
        SamplingParams,
        StructuredOutputsParams,
        validate_guidance_grammar,
    )

    try:
        validate_guidance_grammar(
            SamplingParams(structured_outputs=StructuredOutputsParams(grammar=grammar))
        )
    except ValueError:
        return  # vLLM's own check says it again.
