"""Rewrites the conversations that agents send into ones that vLLM and a text-only model accept.

A message stays in an agent's history: if one request is rejected for it, so is each later request
of that conversation. So parts become text or, for media, a placeholder, and members that are null
or of another JSON type become what their API has there. This works on the request's JSON, before
vLLM validates it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from midm_vllm.constants import omitted

#: A word in a part's type, and the kind of media that it stands for.
_MEDIA = {
    "image": "image", "screenshot": "image", "audio": "audio", "video": "video",
    "document": "document", "file": "document", "upload": "document",
}
#: The part types that vLLM's chat API reads as text, and the member that holds it.
_TEXTS = {
    "text": "text", "input_text": "text", "output_text": "text",
    "refusal": "refusal", "thinking": "thinking",
}
#: The blocks of the Messages API that vLLM has a place for in a chat request.
_BLOCKS = frozenset({
    "tool_use", "tool_result", "thinking", "redacted_thinking", "tool_addition", "tool_removal",
})
#: The input items of the Responses API that vLLM reads, besides messages.
_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


class RequestContent:
    """Rewrites the JSON of one request in place.

    Args:
        reads_media: The model reads media of some kind; what media it can take is vLLM's to say.

    Attributes:
        changed: Something was rewritten.
        omitted: The kinds of content that the model cannot read and was not given.
    """

    def __init__(self, reads_media: bool = False) -> None:
        self._reads_media = reads_media
        self.changed = False
        self.omitted: set[str] = set()

    def chat(self, body: dict[str, Any]) -> None:
        """Rewrite a request of the Chat Completions API."""
        self._drop_null(body, "tool_choice")
        if not body.get("tools") and body.get("tool_choice") in (None, "auto", "none"):
            self._drop(body, "tools")
            self._drop(body, "tool_choice")
        for message in self._objects(body, "messages"):
            if not isinstance(message.get("name", ""), str):
                self._drop(message, "name")
            role = message.get("role")
            if role == "function":  # The API's form before there were tools.
                self._set(message, "role", "tool")
            if role == "assistant":
                self._drop_null(message, "tool_calls")
                if isinstance(message.get("function_call"), dict):
                    calls = [{"function": message.pop("function_call")}]
                    self._set(message, "tool_calls", message.get("tool_calls") or calls)
                for call in self._objects(message, "tool_calls"):
                    self._chat_call(call)
            elif "content" in message and message["content"] is None:
                self._set(message, "content", "")
            if isinstance(message.get("tool_call_id"), int):
                self._set(message, "tool_call_id", str(message["tool_call_id"]))
            self._content(message, "text", "refusal", "thinking")

    def messages(self, body: dict[str, Any]) -> None:
        """Rewrite a request of the Messages API."""
        self._blocks(body, "system")
        for message in self._objects(body, "messages"):
            if message.get("content", "") is None:
                self._set(message, "content", "")
            self._blocks(message, "content")
            blocks = message["content"] if isinstance(message.get("content"), list) else ()
            for block in blocks:
                if block.get("type") == "tool_use":
                    arguments = block.get("input")
                    if not isinstance(arguments, (dict, type(None))):
                        self._set(block, "input", _object(arguments))
                elif block.get("type") == "tool_result":
                    self._result(block)

    def responses(self, body: dict[str, Any]) -> None:
        """Rewrite a request of the Responses API."""
        self._drop_null(body, "tool_choice")
        self._drop_null(body, "tools")
        if isinstance(body.get("input"), list):
            self._set(body, "input", [item for item in body["input"] if self._is_read(item)])
        for item in self._objects(body, "input"):
            kind = item.get("type", "message")
            for member in ("id", "status"):
                self._drop_null(item, member)
            if kind in (*_CALLS, *_OUTPUTS):
                self._call_id(item)
            if kind in _CALLS:
                if kind == "function_call":
                    self._set(item, "arguments", _arguments(item.get("arguments")))
                else:
                    self._set(item, "input", self._text(item.get("input")))
            elif kind in _OUTPUTS:
                output = item.get("output")
                if not (isinstance(output, list) and self._reads_media):
                    self._set(item, "output", self._text(output))
            elif kind == "reasoning":
                self._drop(item, "encrypted_content")
                if not isinstance(item.get("summary"), list):
                    self._set(item, "summary", [])
                if isinstance(item.get("content"), str):
                    part = {"type": "reasoning_text", "text": item["content"]}
                    self._set(item, "content", [part])
            elif item.get("role") == "assistant":
                self._answer(item)
            elif item.get("content", "") is None:
                self._set(item, "content", "")
            else:
                self._content(item, "input_text")

    # Parts.

    def _content(self, holder: dict[str, Any], *types: str) -> None:
        """Make content text, or a list of parts that vLLM validates."""
        content = holder.get("content")
        if isinstance(content, list):
            parts = [self._part(part, *types) for part in content]
            self._set(holder, "content", [part for part in parts if part is not None])
        elif content is not None:
            self._set(holder, "content", self._text(content))

    def _part(self, part: Any, *types: str) -> Any:
        """The part if vLLM reads it, else one of the first of these types; None for nothing."""
        if isinstance(part, dict):
            kind = _kind(part)
            if kind in types and isinstance(part.get(_TEXTS[kind]), str) and "uuid" not in part:
                return part
            if self._reads_media and _medium(part) in ("image", "audio", "video"):
                return part
        text = self._part_text(part)
        return None if text is None else {"type": types[0], "text": text}

    def _text(self, content: Any) -> str:
        """The text of what stands where content does."""
        if content is None or isinstance(content, str):
            return content or ""
        if isinstance(content, list):
            texts = [self._part_text(part) for part in content]
            return "\n".join(filter(None, texts))
        return self._part_text(content) or ""

    def _part_text(self, part: Any) -> str | None:
        """The text of one part; None where there is nothing in it."""
        if part is None or isinstance(part, str):
            return part
        if not isinstance(part, dict):
            return json.dumps(part, ensure_ascii=False)
        kind = _kind(part)
        for member in ("text", "refusal", "thinking"):
            if isinstance(part.get(member), str):
                return str(part[member])
        if not part or kind in _TEXTS:
            value = part.get("text")
            return None if value is None else json.dumps(value, ensure_ascii=False)
        if kind == "tool_reference":
            name = part.get("tool_name") or part.get("name")
            return None if name is None else str(name)
        if kind in ("document", "search_result"):
            return self._document(part)
        medium = _medium(part)
        return json.dumps(part, ensure_ascii=False) if medium is None else self._omit(medium)

    def _document(self, part: dict[str, Any]) -> str:
        """The title, the origin and the text of a document or a search result."""
        source = part.get("source")
        if not isinstance(source, dict):
            content = part.get("content")
        elif source.get("type") == "text":
            content = source.get("data")
        else:
            content = source.get("content")
        lines = [part.get("title"), source, part.get("context")]
        text = self._omit("document") if content is None else self._text(content)
        return "\n".join([line for line in lines if line and isinstance(line, str)] + [text])

    def _omit(self, kind: str) -> str:
        self.omitted.add(kind)
        return omitted(kind)

    # What the APIs have of their own.

    def _chat_call(self, call: dict[str, Any]) -> None:
        self._call_id(call, "id")
        custom = call.get("custom")
        if call.get("type") == "custom" and isinstance(custom, dict):
            shown = {"input": custom.get("input") or ""}
            self._set(call, "function", {"name": custom.get("name"), "arguments": shown})
        if isinstance(call.get("function"), dict):
            self._set(call, "type", "function")
            arguments = _arguments(call["function"].get("arguments"))
            self._set(call["function"], "arguments", arguments)

    def _call_id(self, call: dict[str, Any], member: str = "call_id") -> None:
        """A call without an id keeps its place; its result is matched by order."""
        if not isinstance(call.get(member), str):
            self._set(call, member, str(call.get(member) or ""))

    def _blocks(self, holder: dict[str, Any], member: str) -> None:
        """Make of the blocks of a message those that vLLM validates."""
        content = holder.get(member)
        if content is None or isinstance(content, str):
            return
        blocks = []
        for block in content if isinstance(content, list) else [content]:
            kind = _kind(block) if isinstance(block, dict) else ""
            if kind in _BLOCKS:
                blocks.append(block)
            elif kind.endswith(("_tool_use", "_tool_result")):
                self.omitted.add(kind)  # A call that another server ran, or its result.
            elif (part := self._part(block, "text")) is not None:
                blocks.append(part)
        self._set(holder, member, blocks or "")

    def _result(self, block: dict[str, Any]) -> None:
        content = block.get("content")
        if content is None or isinstance(content, str):
            return
        if self._reads_media:
            self._content(block, "text")
        else:
            self._set(block, "content", self._text(content))

    def _is_read(self, item: Any) -> bool:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind is None or kind in ("message", "reasoning", *_CALLS, *_OUTPUTS):
            return True
        self.omitted.add(str(kind))
        return False

    def _answer(self, item: dict[str, Any]) -> None:
        """Give an assistant message one part, which alone is read of them in vLLM."""
        content = item.get("content")
        if isinstance(content, str) and not {"id", "status"} & item.keys():
            return
        part = content[0] if isinstance(content, list) and len(content) == 1 else None
        if (
            not isinstance(part, dict) or part.get("type") != "output_text"
            or not isinstance(part.get("text"), str)
            or not isinstance(part.get("annotations", []), list)
        ):
            part = {"type": "output_text", "text": self._text(content), "annotations": []}
        self._set(item, "content", [part])
        self._set(item, "type", "message")

    # JSON.

    def _objects(self, holder: dict[str, Any], member: str) -> Iterator[dict[str, Any]]:
        """The objects of a list; a null among them is taken out."""
        values = holder.get(member)
        if isinstance(values, list):
            if None in values:
                self._set(holder, member, [each for each in values if each is not None])
            yield from (value for value in holder[member] if isinstance(value, dict))

    def _set(self, holder: dict[str, Any], member: str, value: Any) -> None:
        if member not in holder or holder[member] != value:
            holder[member] = value
            self.changed = True

    def _drop_null(self, holder: dict[str, Any], member: str) -> None:
        if holder.get(member, "") is None:
            self._drop(holder, member)

    def _drop(self, holder: dict[str, Any], member: str) -> None:
        if member in holder:
            del holder[member]
            self.changed = True


def _kind(part: dict[str, Any]) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else ""


def _medium(part: dict[str, Any]) -> str | None:
    """The kind of media in a part, if any: by its type, or by its one member where it has none."""
    kind = part.get("type")
    if kind is None:
        members = [member for member in part if member != "uuid"]
        kind = members[0] if len(members) == 1 else None
    if not isinstance(kind, str):
        return None
    for word, medium in _MEDIA.items():
        if word in kind:
            return medium
    # Data in base64 would fill the context.
    return "data" if isinstance(part.get("data") or part.get("blob"), str) else None


def _arguments(arguments: Any) -> str:
    """A call's arguments as the JSON text that the OpenAI APIs have."""
    if isinstance(arguments, str):
        return arguments
    return "{}" if arguments is None else json.dumps(arguments, ensure_ascii=False)


def _object(arguments: Any) -> dict[str, Any]:
    """A call's arguments as the object that the Messages API has."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return {}
    return arguments if isinstance(arguments, dict) else {}
