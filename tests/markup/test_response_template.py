"""What vLLM's parser `hf` makes of Mi:dm's calls, with the template in `examples`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from devtools.cases.markup import CASES, Case
from devtools.chat_completions import answers, expected, openai_client, request, streamed_answers
from devtools.checkpoint import REPOSITORY
from devtools.conversations import BY_NAME
from devtools.server import ENGINE_IN_ONE_PROCESS, MODEL, run_server
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser.response_template import ResponseTemplateParser

TEMPLATE = json.loads((REPOSITORY / "examples" / "response_template.json").read_text("utf-8"))
REQUEST = ChatCompletionRequest(
    model=MODEL, messages=[{"role": "user", "content": "?"}],
    tools=[{"type": "function", "function": {"name": "f"}}],
)
TOKENIZER = SimpleNamespace(get_vocab=dict, decode=lambda ids, **_: "")
#: Rows of the table that it reads otherwise than `midm-parser`, in one piece or streamed.
#: A new row that it misreads belongs here; docs/guides/other-engines.md has the figure.
NOT_READ = {
    # The call has no arguments: streamed, they are "" where `midm-parser` sends {}.
    "no arguments", "a trailing comma before the call is certain", "null arguments",
    "an empty string as arguments", "null before the name", "a brace too few, without arguments",
    "arguments missing behind their colon",
    # The arguments are no object, or their text is a JSON string.
    "arguments in a string", "arguments in a string before the name",
    "escapes that stand for no character",
    "arguments that are a list, a number, true and nearly null", "10,000 open brackets",
    # Other members, another order, a name with escapes.
    "arguments before the name", "extra keys around", "a name with escapes and Hangul",
    "arguments repeated after the call is certain",
    # Broken JSON and outputs that are cut off.
    "arguments closed too early", "arguments closed too early by the next block",
    "a bad object behind a good one", "words behind a call in its block",
    "an object that breaks behind its arguments",
    "an object that breaks, whitespace, and a block",
    "an object that breaks behind its arguments, before a tag in prose",
    "cut off in the arguments", "cut off in the second object",
}
TAUGHT = ("single_call", "parallel_calls_in_one_block", "parallel_calls_in_blocks_of_their_own",
          "prose_then_call", "long_call_with_escapes", "tags_in_an_argument", "area_answer")


def parser() -> ResponseTemplateParser:
    return ResponseTemplateParser(
        TOKENIZER, REQUEST.tools, response_template=TEMPLATE, enable_auto_tools=True
    )


def streamed(pieces: Sequence[str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    reading = parser()
    last = len(pieces) - 1
    deltas: Iterable[Any] = filter(None, (
        reading.parse_delta(piece, [1], REQUEST, [], finished=number == last)
        for number, piece in enumerate(pieces)
    ))
    content, calls = "", list[tuple[str, str]]()
    for delta in deltas:
        content += delta.content or ""
        calls += [(call.function.name, call.function.arguments) for call in delta.tool_calls or []]
    return content, tuple(calls)


def is_read(case: Case) -> bool:
    """Whether it comes out as `midm-parser` reads it, whole and in deltas of several sizes."""
    wanted = case.content, case.calls
    _, content, calls = parser().parse(case.text, REQUEST, enable_auto_tools=True)
    if (content or "", tuple((call.name, call.arguments) for call in calls or [])) != wanted:
        return False
    sizes = (1, 5) if len(case.text) < 3_000 else (1_000,)
    return all(
        streamed([case.text[at:at + size] for at in range(0, len(case.text), size)] or [""])
        == wanted
        for size in sizes
    )


def test_the_rows_that_the_template_reads() -> None:
    not_read = {case.id for case in CASES if not is_read(case)}
    print(f"{len(CASES) - len(not_read)} of {len(CASES)} rows are read as midm-parser reads them")
    assert not_read == NOT_READ


def test_objects_with_a_name_in_prose_are_no_calls() -> None:
    text = '[{"name": "Kim"}, {"name": "Lee", "arguments": {}}]'
    assert streamed(list(text)) == (text, ())


@pytest.mark.slow
def test_a_server_reads_calls_with_the_template_in_the_checkpoint(
    checkpoint: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    settings = json.loads((copy / "tokenizer_config.json").read_text("utf-8"))
    settings["response_template"] = TEMPLATE
    (copy / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False), "utf-8")
    arguments = ["serve", str(copy), "--served-model-name", MODEL, "--enforce-eager",
                 "--max-model-len", "4096", "--enable-auto-tool-choice", "--tool-call-parser", "hf"]
    with run_server(arguments, tmp_path / "vllm.log", ENGINE_IN_ONE_PROCESS) as server:
        client = openai_client(server)
        for name in TAUGHT:
            wanted, asked = expected(BY_NAME[name]), request(BY_NAME[name])
            assert answers(client.chat.completions.create(**asked)) == [wanted]
            chunks = client.chat.completions.create(**asked, stream=True)
            assert streamed_answers(chunks) == [wanted]
