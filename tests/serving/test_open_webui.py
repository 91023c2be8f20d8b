"""What Open WebUI sends, in the forms seen of it, is rendered and answered by a real server.

Seen of release 0.12.4 with an MCP server: model, messages, tools and stream, and nothing else. A
call comes back with the server's id, its arguments written anew without spaces, and content that
is never null; a result is a string of indented JSON. A call that was cut off comes back broken,
with an error as its result. Titles are asked for in the background, without tools, not streamed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from agent_demo import convert_area
from chat_completions import Answer, answers, expected, streamed_answers
from conftest import MODEL
from taught_conversations import AREA_OVER_MCP, BY_NAME, Message
from transformers import AutoTokenizer
from vllm_server import Server

CALLS = BY_NAME["web_parallel_calls"]
ERROR = BY_NAME["web_call_again"].messages[-1]["content"]


def ask(client: openai.OpenAI, messages: list[Message], **more: Any) -> Answer:
    """The answer to a request of just the four members that Open WebUI sends."""
    request: dict[str, Any] = {
        "model": MODEL, "messages": messages, "tools": [AREA_OVER_MCP], "stream": True,
    }
    [answer] = streamed_answers(client.chat.completions.create(**request, **more))
    return answer


def replayed(answer: Answer) -> list[Message]:
    """The answer as a later request holds it, with the results of its calls."""
    calls, results = [], []
    for id, (name, arguments) in zip(answer.ids, answer.calls, strict=True):
        try:
            values = json.loads(arguments)
        except json.JSONDecodeError:
            result = ERROR
        else:
            arguments = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
            result = json.dumps(convert_area(**values), ensure_ascii=False, indent=2)
        calls.append(
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        )
        results.append({"role": "tool", "tool_call_id": id, "content": result})
    said: Message = {"role": "assistant", "content": answer.content}
    return [said | {"tool_calls": calls} if calls else said, *results]


def test_two_calls_their_results_and_a_question_after_them(client: openai.OpenAI) -> None:
    messages = list(CALLS.messages)
    for asked, answered in [
        ("web_parallel_calls", "web_answer"), ("web_follow_up", "web_follow_up_answer")
    ]:
        if asked != "web_parallel_calls":
            messages.append(BY_NAME[asked].messages[-1])
        calls = ask(client, messages)
        assert calls == expected(BY_NAME[asked])
        messages += replayed(calls)
        answer = ask(client, messages)
        assert answer == expected(BY_NAME[answered])
        messages += replayed(answer)


@pytest.fixture
def cut_off(client: openai.OpenAI, checkpoint: Path) -> list[Message]:
    """A conversation whose first call `max_tokens` cut off in its arguments."""
    begun = CALLS.text.partition('"from_unit"')[0]
    limit = len(AutoTokenizer.from_pretrained(checkpoint).encode(begun))
    answer = ask(client, list(CALLS.messages), max_tokens=limit)
    [(name, arguments)] = answer.calls
    assert CALLS.calls[0].arguments.startswith(arguments) and arguments[-1:] not in ("", "}")
    return [*CALLS.messages, *replayed(answer)]


def test_a_call_that_was_cut_off_is_made_again(
    client: openai.OpenAI, cut_off: list[Message]
) -> None:
    assert ask(client, cut_off) == expected(BY_NAME["web_call_again"])


def test_a_call_that_was_cut_off_is_rendered_without_arguments(
    render_server: Server, checkpoint: Path, cut_off: list[Message]
) -> None:
    rendered = httpx.post(
        f"{render_server.url}/v1/chat/completions/render", timeout=300,
        json={"model": MODEL, "messages": cut_off, "tools": [AREA_OVER_MCP], "stream": True},
    ).json()
    prompt = AutoTokenizer.from_pretrained(checkpoint).decode(rendered["token_ids"])
    name = AREA_OVER_MCP["function"]["name"]
    assert f'{CALLS.content}\n<tool_call>\n{{"name": "{name}", "parameters": {{}}}}\n' in prompt


def test_a_title_is_made_in_the_background(client: openai.OpenAI) -> None:
    title = BY_NAME["web_title"]
    completion = client.chat.completions.create(
        model=MODEL, messages=list(title.messages), stream=False, max_completion_tokens=1000
    )
    assert answers(completion) == [expected(title)]
