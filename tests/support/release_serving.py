"""The chat serving class of whichever vLLM release is installed, over a stand-in engine.

What is vLLM's own here: the serving class with its streaming generator and its full response, the
parser it looks up by name, the request and response types. What stands in: the engine, which
yields given deltas, and what it knows of a model.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

from devtools.chat_completions import Answer, answers, streamed_answers
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.plugins import load_general_plugins

from midm_vllm.compat import vllm_imports

load_general_plugins()

PARSER = "midm-parser"
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("a", "b", "get_weather")
]
PROMPT_IDS = [0, 1]
TEXT_ID = 3
SPECIAL_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
END_OF_TEXT, END_OF_TURN = 1, 2


class Serving:
    """An ``OpenAIServingChat`` with tool calls switched on."""

    def __init__(self, parser: str = PARSER) -> None:
        self.tokenizer = _tokenizer()
        self._runner = asyncio.Runner()
        config = SimpleNamespace(model_type="llama")
        model = SimpleNamespace(
            model="midm",
            max_model_len=32768,
            hf_config=config,
            hf_text_config=config,
            generation_config="auto",
            override_generation_config={},
            logits_processors=None,
            get_diff_sampling_param=dict,
        )
        parts = {
            "model_config": model,
            "renderer": SimpleNamespace(tokenizer=self.tokenizer),
            "processor": None,
            "input_processor": None,
            "io_processor": None,
        }
        self._chat = _call(
            vllm_imports.OpenAIServingChat,
            engine_client=SimpleNamespace(**parts),
            models=SimpleNamespace(**parts),
            model_config=model,
            response_role="assistant",
            request_logger=None,
            chat_template=None,
            chat_template_content_format="auto",
            online_renderer=None,
            openai_serving_render=None,
            enable_auto_tools=True,
            tool_parser=parser,
        )

    def close(self) -> None:
        self._runner.close()

    def request(self, **options: Any) -> Any:
        return vllm_imports.ChatCompletionRequest(
            model="midm", messages=[{"role": "user", "content": "?"}], tools=TOOLS, **options
        )

    def stream(
        self,
        *choices: Sequence[str],
        finish_reason: str = "stop",
        end: int = END_OF_TURN,
        **options: Any,
    ) -> list[Answer]:
        """One answer per choice, each given as its deltas; the choices' deltas take turns."""
        request = self.request(stream=True, n=len(choices), **options)
        deltas = []
        for turn in range(max(map(len, choices))):
            for index, texts in enumerate(choices):
                if turn < len(texts):
                    last = turn == len(texts) - 1
                    reason = finish_reason if last else None
                    deltas.append(_output(index, texts[turn], reason, end))
        chunks = self._runner.run(self._stream(request, deltas))
        return streamed_answers(chunks, len(choices))

    def complete(self, text: str, finish_reason: str = "stop", **options: Any) -> Answer:
        request = self.request(**options)
        outputs = [_output(0, text, finish_reason)]
        generate = self._generate("chat_completion_full_generator", request, outputs)
        response = self._runner.run(generate)
        [answer] = answers(ChatCompletion.model_validate(response.model_dump()))
        return answer

    def parser(self, request: Any) -> Any:
        """The tool parser that the server makes for a request."""
        if hasattr(self._chat, "tool_parser"):
            parser = self._chat.tool_parser
        else:
            parser = self._chat.parser_cls.tool_parser_cls
        takes_tools = "tools" in inspect.signature(vllm_imports.ToolParser.__init__).parameters
        return parser(self.tokenizer, *([request.tools] if takes_tools else []))

    def _generate(self, method: str, request: Any, outputs: list[RequestOutput]) -> Any:
        available: dict[str, Any] = {}
        if getattr(self._chat, "parser_cls", None) is not None:
            available["parser"] = self._chat.parser_cls(self.tokenizer, request.tools)
        return _call(
            getattr(self._chat, method),
            request=request,
            result_generator=_iterate(outputs),
            request_id="chatcmpl-1",
            model_name="midm",
            conversation=[],
            tokenizer=self.tokenizer,
            request_metadata=SimpleNamespace(),
            enable_force_include_usage=False,
            **available,
        )

    async def _stream(
        self, request: Any, outputs: list[RequestOutput]
    ) -> list[ChatCompletionChunk]:
        chunks = []
        async for line in self._generate("chat_completion_stream_generator", request, outputs):
            data = line.removeprefix("data: ").strip()
            if data == "[DONE]":
                return chunks
            chunk = json.loads(data)
            if "choices" not in chunk:
                raise RuntimeError(f"The server answered with an error: {chunk}")
            chunks.append(ChatCompletionChunk.model_validate(chunk))
        raise RuntimeError("The stream ended without [DONE].")


def _tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: id_ for id_, token in enumerate([*SPECIAL_TOKENS, "text"])}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="text")),
        bos_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[1],
    )


def _output(
    index: int, text: str, finish_reason: str | None, end: int = END_OF_TURN
) -> RequestOutput:
    """An output as the engine gives it: the id that ended it is there, its text is not."""
    ids = [TEXT_ID] * (len(text) // 3 + 1)
    if finish_reason == "stop":
        ids.append(end)
    output = CompletionOutput(
        index=index,
        text=text,
        token_ids=ids,
        cumulative_logprob=None,
        logprobs=None,
        finish_reason=finish_reason,
    )
    return RequestOutput(
        request_id="chatcmpl-1",
        prompt="?",
        prompt_token_ids=PROMPT_IDS,
        prompt_logprobs=None,
        outputs=[output],
        finished=finish_reason is not None,
    )


async def _iterate(outputs: list[RequestOutput]) -> AsyncIterator[RequestOutput]:
    for output in outputs:
        yield output


def _call(function: Any, **arguments: Any) -> Any:
    """Call with those of the arguments that this release's signature has."""
    known = inspect.signature(function).parameters
    return function(**{name: value for name, value in arguments.items() if name in known})
