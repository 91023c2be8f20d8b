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


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["xgrammar", "outlines"])
def test_required_and_named_give_calls_and_strict_says_that_it_cannot(
    backend: str, untrained_checkpoint: Path, tmp_path: Path
) -> None:
    arguments = [*serve_arguments(untrained_checkpoint), "--api-server-count", "2",
                 "--structured-outputs-config", json.dumps({"backend": backend})]
    with run_server(arguments, tmp_path / "vllm.log") as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        function = {"name": "f", "parameters": SCHEMAS["enums"]}
        choices: list[Any] = ["required", NAMED] * 3
        for choice in choices:
            completion = client.chat.completions.create(
                model=MODEL, messages=QUESTION, tool_choice=choice, max_tokens=400,
                tools=[{"type": "function", "function": function}],  # type: ignore
                parallel_tool_calls=False,
            )
            if completion.choices[0].finish_reason == "length":
                continue
            for call in completion.choices[0].message.tool_calls or []:
                assert call.type == "function" and call.function.name == "f"
                jsonschema.validate(json.loads(call.function.arguments), SCHEMAS["enums"])
        for _ in range(4):  # Of either API server.
            with pytest.raises(openai.BadRequestError, match=f"'f'.*{backend}.*guidance"):
                client.chat.completions.create(
                    model=MODEL, messages=QUESTION,
                    tools=[{"type": "function", "function": {**function, "strict": True}}],
                )
        assert server.is_healthy()
