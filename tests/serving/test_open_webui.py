"""What Open WebUI sends, in the forms seen of it, is rendered and answered by a real server.

Seen of release 0.12.4 with an MCP server: model, messages, tools and stream, and nothing else. A
call comes back with the server's id, its arguments written anew without spaces, and content that
is never null; a result is a string of indented JSON. A call that was cut off comes back broken,
with an error as its result. Titles, tags and follow-up questions are asked for in the background,
without tools, not streamed. A file is text in the question; an image is a part of it. In its legacy
way of calling functions it describes them in a system message, and sends no tools.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from devtools.chat_completions import Answer, answers, expected, streamed_answers
from devtools.conversations import AREA_OVER_MCP, BY_NAME, Message
from devtools.demo.agent_demo import convert_area
from devtools.server import MODEL, Server
from transformers import AutoTokenizer

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


@pytest.fixture
def rendered(render_server: Server, checkpoint: Path) -> Callable[..., str]:
    """What the server makes of a request's messages: the prompt as text."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def render(messages: list[Message], **more: Any) -> str:
        response = httpx.post(
            f"{render_server.url}/v1/chat/completions/render", timeout=300,
            json={"model": MODEL, "messages": messages, **more},
        )
        assert response.status_code == 200, response.text
        text: str = tokenizer.decode(response.json()["token_ids"])
        return text

    return render


def test_a_call_that_was_cut_off_is_rendered_without_arguments(
    rendered: Callable[..., str], cut_off: list[Message]
) -> None:
    prompt = rendered(cut_off, tools=[AREA_OVER_MCP], stream=True)
    name = AREA_OVER_MCP["function"]["name"]
    assert f'{CALLS.content}\n<tool_call>\n{{"name": "{name}", "parameters": {{}}}}\n' in prompt


def test_two_results_are_rendered_in_turns_of_their_own(rendered: Callable[..., str]) -> None:
    answered = BY_NAME["web_answer"]
    prompt = rendered(list(answered.messages), tools=[AREA_OVER_MCP], stream=True)
    *_, call, first, second = answered.messages
    turns = [f"<|start_header_id|>tool<|end_header_id|>\n\n{result['content']}<|eot_id|>"
             for result in (first, second)]
    assert call["content"] in prompt
    assert "".join(turns) in prompt


@pytest.mark.parametrize("messages", [
    pytest.param(
        [{"role": "user", "content": "이 대화에서 더 물을 만한 것을 JSON으로 적어 줘.\n<chat_history>\n"
          "USER: 30평은 몇 제곱미터야?\nASSISTANT: 약 99.17제곱미터입니다.\n</chat_history>"}],
        id="follow_ups",
    ),
    pytest.param(
        [{"role": "user", "content": "대화의 주제를 적어 줘: { \"tags\": [\"주제\"] }\n<chat_history>\n"
          "USER: 30평은 몇 제곱미터야?\n</chat_history>"}],
        id="tags",
    ),
    pytest.param(
        [{"role": "user", "content": "자료를 보고 답해 줘.\n<context>\n<source id=\"1\" name=\"집.txt\">"
          "우리 집은 84제곱미터다.\n</source>\n</context>\n\n우리 집은 몇 평이야?"}],
        id="a_file",
    ),
    pytest.param(
        [{"role": "system", "content": "쓸 수 있는 도구: [{\"name\":\"area_convert_area\"}]\n"
          "{\n  \"tool_calls\": []\n} 꼴의 JSON으로만 답한다."},
         {"role": "user", "content": "Query: 30평은 몇 제곱미터야?"}],
        id="legacy_calling",
    ),
])
def test_a_request_without_tools_is_rendered_unchanged(
    rendered: Callable[..., str], messages: list[Message]
) -> None:
    turns = [
        f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n{message['content']}<|eot_id|>"
        for message in messages
    ]
    prompt = rendered(messages, stream=False)
    assert prompt.endswith("".join(turns) + "<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert "tool_list" not in prompt


def test_a_question_in_parts_is_rendered_as_its_text(rendered: Callable[..., str]) -> None:
    [message] = CALLS.messages
    parts = [message | {"content": [{"type": "text", "text": message["content"]}]}]
    assert rendered(parts, tools=[AREA_OVER_MCP]) == rendered([message], tools=[AREA_OVER_MCP])


def test_an_image_does_not_end_the_conversation(client: openai.OpenAI) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    ask(client, [{"role": "user", "content": [{"type": "text", "text": "뭐야?"}, image]}])


def test_a_title_is_made_in_the_background(client: openai.OpenAI) -> None:
    title = BY_NAME["web_title"]
    completion = client.chat.completions.create(
        model=MODEL, messages=list(title.messages), stream=False, max_completion_tokens=1000
    )
    assert answers(completion) == [expected(title)]
