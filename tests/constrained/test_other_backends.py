"""A server whose user chose another grammar backend: calls go vLLM's own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
from constrained_trials import MODEL, serve_arguments
from devtools.cases.schemas import SCHEMAS
from devtools.server import run_server

QUESTION: list[Any] = [{"role": "user", "content": "?"}]
NAMED = {"type": "function", "function": {"name": "f"}}


#: Without whitespace of any length, which an untrained model goes on writing.
CONFIGURATIONS: list[dict[str, Any]] = [
    {"backend": "xgrammar", "disable_any_whitespace": True}, {"backend": "outlines"},
]
ANSWERS = 4


@pytest.mark.slow
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda each: each["backend"])
def test_required_and_named_give_valid_calls_and_strict_is_rejected(
    configuration: dict[str, Any], untrained_checkpoint: Path, tmp_path: Path
) -> None:
    arguments = [*serve_arguments(untrained_checkpoint), "--api-server-count", "2",
                 "--structured-outputs-config", json.dumps(configuration)]
    with run_server(arguments, tmp_path / "vllm.log") as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        function = {"name": "f", "parameters": SCHEMAS["enums"]}
        choices: list[Any] = ["required", NAMED]
        for choice in choices:
            delivered = 0
            for _ in range(ANSWERS):
                completion = client.chat.completions.create(
                    model=MODEL, messages=QUESTION, tool_choice=choice, max_tokens=400,
                    tools=[{"type": "function", "function": function}],  # type: ignore
                    parallel_tool_calls=False,
                )
                answer = completion.choices[0]
                if answer.finish_reason == "length":
                    continue
                assert answer.message.tool_calls, answer
                [call] = answer.message.tool_calls
                assert call.type == "function" and call.function.name == "f"
                jsonschema.validate(json.loads(call.function.arguments), SCHEMAS["enums"])
                delivered += 1
            assert delivered > ANSWERS / 2, choice
        message = f"'f'.*{configuration['backend']}.*guidance"
        for _ in range(4):  # Of either API server.
            with pytest.raises(openai.BadRequestError, match=message):
                client.chat.completions.create(
                    model=MODEL, messages=QUESTION,
                    tools=[{"type": "function", "function": {**function, "strict": True}}],
                )
        assert server.is_healthy()
