"""vLLM's preparation of a chat request, as far as midm-parser takes part, without a server."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from vllm.parser.abstract_parser import DelegatingParser

from midm_vllm.serving.constraints.grammar_prefetch import install_prefetch
from midm_vllm.serving.tool_parser import MidmToolParser


class Parser(DelegatingParser):
    tool_parser_cls = MidmToolParser


class Tokenizer:
    added_tokens_decoder: dict[int, Any] = {}

    def get_vocab(self) -> dict[str, int]:
        return {}


class Preparing:
    """Prepares a request as vLLM's class does: it renders, and then asks for the grammar."""

    tokenizer: Any = Tokenizer()

    def __init__(self, parser: Any = Parser) -> None:
        self.renderer = self
        self.parser = parser

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    async def preprocess_chat(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return self.parser(self.tokenizer, request.tools).adjust_request(request)


class Prefetching(Preparing):
    """The same with grammars that are built in a thread first."""

    async def preprocess_chat(self, request: Any) -> Any:
        return await super().preprocess_chat(request)


install_prefetch(SimpleNamespace(OnlineRenderer=Prefetching))
