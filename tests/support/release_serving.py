"""The chat serving class of whichever vLLM release is installed, over a stand-in engine.

What is vLLM's own here: the serving class with its streaming generator and its full response, the
class that prepares a request (from 0.24), the check of its constraints, the parser it looks up by
name, the request and response types. What stands in: the engine, which yields given deltas, the
chat template, and what vLLM knows of a model.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from devtools.chat_completions import Answer, answers, streamed_answers
from llguidance import LLMatcher, LLTokenizer
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.plugins import load_general_plugins

from midm_vllm.compat import vllm_imports
from midm_vllm.compat.capabilities import has

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


@dataclass(frozen=True)
class Constraint:
    """What the engine is told to constrain an output with; ``kind`` is "" for nothing."""

    kind: str = ""
    value: Any = None
    backend: str | None = None

    def accepts(self, text: str) -> bool:
        """Whether a model that is constrained by this grammar can write the text, and end."""
        assert self.kind == "grammar", self
        # Tokens are bytes here, so a special token is its text.
        grammar = re.sub(r"(<\|\w+\|>)", r'"\1"', self.value)
        matcher = LLMatcher(LLTokenizer("byte"), grammar, log_level=0)
        data = list(text.encode())
        return matcher.try_consume_tokens(data) == len(data) and bool(matcher.is_accepting())


class Serving:
    """An ``OpenAIServingChat`` with tool calls switched on, in a server with a grammar backend."""

    def __init__(self, parser: str = PARSER, backend: str = "auto") -> None:
        self.tokenizer = _tokenizer()
        self._runner = asyncio.Runner()
        config = SimpleNamespace(model_type="llama")
        model = self._model = SimpleNamespace(
            model="midm",
            max_model_len=32768,
            hf_config=config,
            hf_text_config=config,
            generation_config="auto",
            override_generation_config={},
            logits_processors=None,
            get_diff_sampling_param=dict,
            multimodal_config=None,
            is_multimodal_model=False,
            supports_multimodal_inputs=False,
            is_encoder_decoder=False,
            enable_prompt_embeds=False,
            renderer_num_workers=1,
            is_diffusion=False,
        )
        self._config = SimpleNamespace(
            model_config=model,
            parallel_config=SimpleNamespace(_api_process_rank=0),
            observability_config=None,
            structured_outputs_config=_outputs_config(backend),
        )
        renderer = _renderer(self._config, self.tokenizer)
        self._online_renderer = _online_renderer(model, renderer, parser)
        parts = {
            "model_config": model,
            "renderer": renderer,
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
            online_renderer=self._online_renderer,
            openai_serving_render=self._online_renderer,
            enable_auto_tools=True,
            tool_parser=parser,
        )

    def close(self) -> None:
        self._runner.close()

    def request(self, **options: Any) -> Any:
        asked = {"messages": [{"role": "user", "content": "?"}], "tools": TOOLS, **options}
        return vllm_imports.ChatCompletionRequest(model="midm", **asked)

    def prepare(self, request: Any) -> Constraint:
        """Prepare a request as vLLM does before it goes to the engine (from 0.24).

        Raises what vLLM answers with 400.
        """
        self._runner.run(self._online_renderer.render_chat(request))
        parameters = request.to_sampling_params(100, {})
        parameters._validate_structured_outputs(
            self._model, self._config.structured_outputs_config, self.tokenizer
        )
        outputs = parameters.structured_outputs
        kinds = "json", "regex", "choice", "grammar", "json_object", "structural_tag"
        set_ = [kind for kind in kinds if getattr(outputs, kind, None) is not None]
        if not set_:
            return Constraint()
        [kind] = set_
        return Constraint(kind, getattr(outputs, kind), outputs._backend)

    def stream(
        self,
        *choices: Sequence[str],
        finish_reason: str = "stop",
        end: int = END_OF_TURN,
        **options: Any,
    ) -> list[Answer]:
        """One answer per choice, each given as its deltas; the choices' deltas take turns."""
        request = self.request(stream=True, n=len(choices), **options)
        return self.stream_to(request, *choices, finish_reason=finish_reason, end=end)

    def stream_to(
        self, request: Any, *choices: Sequence[str], finish_reason: str = "stop",
        end: int = END_OF_TURN,
    ) -> list[Answer]:
        """The same to a request that may have been prepared."""
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
        return self.complete_to(self.request(**options), text, finish_reason)

    def complete_to(self, request: Any, text: str, finish_reason: str = "stop") -> Answer:
        """The same to a request that may have been prepared."""
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

    def whole_parser(self, request: Any) -> Any:
        """What reads a stream for the server (from 0.24): it has the tool parser in it."""
        return self._chat.parser_cls(self.tokenizer, request.tools)

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


def _outputs_config(backend: str) -> Any:
    try:
        from vllm.config import StructuredOutputsConfig  # From 0.11.
    except ImportError:
        return SimpleNamespace(backend=backend)
    return StructuredOutputsConfig(backend=backend)


def _renderer(config: Any, tokenizer: Any) -> Any:
    """A renderer of vLLM's (from 0.24) whose prompts are always the same."""
    if _online_renderer_class() is None:
        return SimpleNamespace(tokenizer=tokenizer)
    from vllm.renderers.base import BaseRenderer

    class Renderer(BaseRenderer):
        def render_messages(self, *arguments: Any) -> Any:
            raise NotImplementedError

        async def render_chat_async(self, *arguments: Any, **named: Any) -> Any:
            return [[]], [{"prompt_token_ids": PROMPT_IDS}]

    return Renderer(config, tokenizer)


def _online_renderer(model: Any, renderer: Any, parser: str) -> Any:
    """What prepares chat requests from 0.24; None before."""
    kind = _online_renderer_class()
    return kind and _call(
        kind,
        model_config=model,
        renderer=renderer,
        model_registry=None,
        request_logger=None,
        chat_template=None,
        chat_template_content_format="auto",
        enable_auto_tools=True,
        tool_parser=parser,
    )


def _online_renderer_class() -> Any:
    if not has("parser grammars"):  # 0.16 to 0.23 have such a class, and another base.
        return None
    places = (
        (vllm_imports.ONLINE_RENDERER, "OnlineRenderer"),  # From 0.25.
        (vllm_imports.RENDERING_SERVER, "OpenAIServingRender"),  # In 0.24.
    )
    for module, name in places:
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError):
            continue
    return None


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
