"""Chat completions as a client sees them, streamed and not, in one form to compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from devtools.conversations import Conversation
from devtools.server import MODEL, Server
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from packaging.version import Version

#: Whether the finish reason of an answer that was cut off is "length" also where it has calls.
STREAM_SAYS_CUT_OFF = Version(version("vllm")) >= Version("0.31")
RESPONSE_SAYS_CUT_OFF = Version(version("vllm")) >= Version("0.33")


@dataclass
class Answer:
    """One choice of a chat completion; `calls` are (name, arguments) pairs."""

    content: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    finish_reason: str | None = None
    ids: list[str] = field(default_factory=list, compare=False)


def openai_client(server: Server) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def expected(conversation: Conversation) -> Answer:
    calls = [(call.name, call.arguments) for call in conversation.calls]
    return Answer(conversation.content or "", calls, "tool_calls" if calls else "stop")


def cut_off_reason(answer: Answer, says_so: bool) -> str:
    return "tool_calls" if answer.calls and not says_so else "length"


def request(conversation: Conversation, **more: Any) -> dict[str, Any]:
    """The arguments of `chat.completions.create` that ask for the taught answer."""
    arguments: dict[str, Any] = {
        "model": MODEL,
        "messages": list(conversation.messages),
        "temperature": 0,
        "max_completion_tokens": 2000,
    }
    if conversation.tools:
        arguments["tools"] = list(conversation.tools)
    return arguments | more


def answers(completion: ChatCompletion) -> list[Answer]:
    """The choices of a completion that was not streamed."""
    result = []
    for choice in completion.choices:
        answer = Answer(choice.message.content or "", finish_reason=choice.finish_reason)
        for call in choice.message.tool_calls or []:
            assert call.type == "function"
            answer.calls.append((call.function.name, call.function.arguments))
            answer.ids.append(call.id)
        result.append(answer)
    return result


def both(client: OpenAI, arguments: dict[str, Any]) -> tuple[Answer, Answer]:
    """The one choice of the same request answered at once, and streamed."""
    [once] = answers(client.chat.completions.create(**arguments))
    [streamed] = streamed_answers(client.chat.completions.create(**arguments, stream=True))
    return once, streamed


def streamed_answers(chunks: Iterable[ChatCompletionChunk], choices: int = 1) -> list[Answer]:
    """The choices that the chunks add up to.

    Checks what any client relies on: calls begin in the order of their index,
    with an id, a type and a name that come once; a chunk has one entry for a
    call; nothing follows the finish reason.
    """
    result = [Answer() for _ in range(choices)]
    for chunk in chunks:
        for choice in chunk.choices:
            answer = result[choice.index]
            assert answer.finish_reason is None
            answer.finish_reason = choice.finish_reason
            answer.content += choice.delta.content or ""
            entries = choice.delta.tool_calls or []
            indices = [entry.index for entry in entries]
            assert indices == sorted(set(indices))
            for entry in entries:
                assert entry.function is not None
                arguments = entry.function.arguments or ""
                if entry.index == len(answer.calls):
                    assert entry.id and entry.type == "function" and entry.function.name
                    answer.calls.append((entry.function.name, arguments))
                    answer.ids.append(entry.id)
                else:
                    assert entry.id is None and entry.type is None
                    assert entry.function.name is None and entry.index == len(answer.calls) - 1
                    name, so_far = answer.calls[entry.index]
                    answer.calls[entry.index] = (name, so_far + arguments)
    return result
