"""vLLM without its server: `vllm run-batch`, and `AsyncLLM` in a program of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from devtools.chat_completions import answers, expected, request
from devtools.conversations import BY_NAME
from devtools.server import ENVIRONMENT, MODEL, VLLM
from openai.types.chat import ChatCompletion

pytestmark = pytest.mark.slow

ASKED = ["parallel_calls_in_one_block", "prose_then_call", "call_without_arguments",
         "answer_that_names_the_tag", "area_answer"]  # fmt: skip
PROGRAM = Path(__file__).parents[1] / "support" / "async_engine_calls.py"


def run(*command: str) -> str:
    environment = {**ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


def test_a_batch_file_s_answers_have_calls(renamed_checkpoint: Path, tmp_path: Path) -> None:
    asked, answered = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    bodies = {name: request(BY_NAME[name]) for name in ASKED}
    # Under the grammar of its schema, and of calls at all.
    strict = request(BY_NAME["single_call"])
    function = strict["tools"][0]["function"]
    bodies["strict"] = strict | {
        "tools": [{"type": "function", "function": function | {"strict": True}}],
        "tool_choice": "required",
    }
    asked.write_text("".join(
        json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions",
                    "body": body}) + "\n"
        for name, body in bodies.items()
    ))  # fmt: skip
    run(VLLM, "run-batch", "-i", str(asked), "-o", str(answered), "--model",
        str(renamed_checkpoint), "--served-model-name", MODEL, "--enforce-eager",
        "--max-model-len", "4096", "--tool-call-parser", "midm-parser")  # fmt: skip
    lines = [json.loads(line) for line in answered.read_text().splitlines()]
    got = {line["custom_id"]: line["response"]["body"] for line in lines}
    assert got.keys() == bodies.keys()
    for name in ASKED:
        assert answers(ChatCompletion.model_validate(got[name])) == [expected(BY_NAME[name])]
    [strict] = answers(ChatCompletion.model_validate(got["strict"]))
    assert (strict.calls, strict.content) == (expected(BY_NAME["single_call"]).calls, "")


def test_an_engine_in_a_program_streams_what_offline_reads(renamed_checkpoint: Path) -> None:
    lines = run(sys.executable, str(PROGRAM), str(renamed_checkpoint), *ASKED).splitlines()
    read = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(read) == len(ASKED)
    for name, output in zip(ASKED, read):
        wanted = expected(BY_NAME[name])
        assert output["content"] == wanted.content and output["complete"]
        assert [tuple(call) for call in output["calls"]] == wanted.calls
        assert output["steps"] > 3 or name != "parallel_calls_in_one_block"
