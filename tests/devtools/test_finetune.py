"""The example that fine-tunes with TRL: what it learns from, and that the result calls the tool."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devtools.chat_completions import openai_client
from devtools.checkpoint import REPOSITORY
from devtools.server import ENGINE_IN_ONE_PROCESS, MODEL, run_server, serve_arguments
from devtools.setup_env import own_environment
from transformers import AutoTokenizer

EXAMPLES = REPOSITORY / "examples"
CONVERSATIONS = EXAMPLES / "finetune_conversations.jsonl"
LABELS = REPOSITORY / "tests" / "support" / "finetune_labels.py"
WAYS = {
    "full": ("--epochs", "30", "--learning-rate", "3e-3"),
    "lora": ("--epochs", "60", "--learning-rate", "1e-2", "--lora", "64"),
}


def answers() -> Iterator[tuple[list[Any], list[Any], dict[str, Any]]]:
    """What comes before each answer of the assistant, the tools, and the answer."""
    for line in CONVERSATIONS.read_text("utf-8").splitlines():
        conversation = json.loads(line)
        for place, message in enumerate(conversation["messages"]):
            if message["role"] == "assistant":
                yield conversation["messages"][:place], conversation["tools"], message


def own_words(message: dict[str, Any]) -> str:
    """An answer as Mi:dm writes it."""
    calls = [
        f'<tool_call>{{"name": "{call["function"]["name"]}", '
        f'"arguments": {call["function"]["arguments"]}}}</tool_call>'
        for call in message.get("tool_calls", [])
    ]
    return "\n".join(filter(None, [message["content"], *calls]))


def in_trl(script: Path, *arguments: str) -> str:
    done = subprocess.run(
        [own_environment("trl"), script, *arguments], capture_output=True, text=True,
        env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_loss_is_on_the_assistants_own_words_behind_vllms_prompt(
    checkpoint: Path, tmp_path: Path
) -> None:
    told = in_trl(LABELS, str(EXAMPLES), str(checkpoint), str(CONVERSATIONS), str(tmp_path))
    [line] = [line for line in told.splitlines() if line.startswith("LABELS ")]
    learned = json.loads(line.removeprefix("LABELS "))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    wanted = [
        [
            tokenizer.apply_chat_template(
                messages, tools=tools, add_generation_prompt=True, tokenize=False
            ),
            f"{own_words(message)}<|eot_id|>",
            True,  # In one piece, up to the end.
        ]
        for messages, tools, message in answers()
    ]
    assert sorted(learned) == sorted(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_result_is_served_and_calls_the_new_tool(
    way: str, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "finetuned"
    script = EXAMPLES / "finetune_trl.py"
    in_trl(script, str(checkpoint), str(CONVERSATIONS), str(out), *WAYS[way])
    log = tmp_path / "vllm.log"
    with run_server(serve_arguments(out), log, ENGINE_IN_ONE_PROCESS) as server:
        client = openai_client(server)
        for messages, tools, message in answers():
            answer = client.chat.completions.create(
                model=MODEL, messages=messages, tools=tools, temperature=0, max_tokens=256
            ).choices[0].message
            calls = [
                (call.function.name, call.function.arguments)
                for call in answer.tool_calls or []
                if call.type == "function"
            ]
            assert calls == [
                (call["function"]["name"], call["function"]["arguments"])
                for call in message.get("tool_calls", [])
            ]
            assert (answer.content or "").strip() == (message["content"] or "")
