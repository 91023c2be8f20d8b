"""Any output of the model, through vLLM's own HTTP server: the table of texts once more.

`vllm launch render` parses token ids as `vllm serve` does, non-streaming and chunk by chunk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from devtools.cases.markup import CASES, Case
from devtools.chat_completions import Answer, answers, streamed_answers
from devtools.server import MODEL, Server
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tokenizers import Tokenizer

CHAT_REQUEST = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "?"}],
    "tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}],
}


def can_be_generated(text: str) -> bool:
    """Whether there are tokens for it: some text, and no half of a surrogate pair."""
    return bool(text) and not any("\ud800" <= character <= "\udfff" for character in text)


every_case = pytest.mark.parametrize(
    "case", [case for case in CASES if can_be_generated(case.text)], ids=lambda case: case.id
)


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return Tokenizer.from_file(str(checkpoint / "tokenizer.json"))


@pytest.fixture(scope="module")
def derender(render_server: Server) -> Any:
    with httpx.Client(base_url=render_server.url, timeout=300) as http:

        def post(body: dict[str, Any]) -> Any:
            answer = http.post(
                "/v1/chat/completions/derender", json=body | {"chat_request": CHAT_REQUEST}
            )
            assert answer.status_code == 200, answer.text
            return answer.json()

        yield post


def choice(token_ids: list[int], finish_reason: str | None = "stop") -> dict[str, Any]:
    return {
        "request_id": "r",
        "choices": [{"index": 0, "finish_reason": finish_reason, "token_ids": token_ids}],
    }


def as_read(answer: Answer) -> tuple[str, list[tuple[str, str]]]:
    return answer.content, answer.calls


@every_case
def test_case_is_parsed_non_streaming(derender: Any, tokenizer: Tokenizer, case: Case) -> None:
    token_ids = tokenizer.encode(case.text).ids
    completion = derender({"generate_response": choice(token_ids)})
    [answer] = answers(ChatCompletion.model_validate(completion))
    assert as_read(answer) == (case.content, list(case.calls))


@every_case
@pytest.mark.parametrize("chunk_count", [3, 12])
def test_case_is_parsed_chunk_by_chunk(
    derender: Any, tokenizer: Tokenizer, case: Case, chunk_count: int
) -> None:
    token_ids = tokenizer.encode(case.text).ids
    size = len(token_ids) // chunk_count + 1
    pieces = [token_ids[start : start + size] for start in range(0, len(token_ids), size)]
    state, chunks = None, []
    for number, piece in enumerate(pieces):
        finish_reason = "stop" if number == len(pieces) - 1 else None
        body = derender({
            "stream": True,
            "generate_chunk": choice(piece, finish_reason),
            "stream_state": state,
            "prompt_token_ids": [0],
        })
        state = body["stream_state"]
        chunks.append(ChatCompletionChunk.model_validate(body["chunk"]))
    [answer] = streamed_answers(chunks)
    assert as_read(answer) == (case.content, list(case.calls))
