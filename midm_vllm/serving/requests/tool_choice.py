"""The tools and the ``tool_choice`` of a request of Chat Completions or Responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

#: How vLLM shows a tool that takes free text.
_CUSTOM_PARAMETERS = {
    "type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"],
    "additionalProperties": False,
}


class UncallableTools(ValueError):
    """A call is required and no tool can be called, or too many; vLLM answers with 400."""


@dataclass(frozen=True)
class Tool:
    """A tool under the name that the model is shown, and without its namespace."""

    name: str
    short_name: str
    kind: str
    parameters: Any
    strict: bool | None

    @property
    def is_callable(self) -> bool:
        """Whether a call of it reaches the client: a function, or a custom tool as one."""
        return self.kind == "function" or (self.kind == "custom" and self.name == self.short_name)


@dataclass(frozen=True)
class ToolChoice:
    """What a request's ``tool_choice`` allows and requires.

    Attributes:
        tools: The tools that may be called.
        must_call: Whether at least one must be.
        is_named: Whether exactly one call of a named tool is required.
        is_limited: Whether the choice limits which of the request's tools may be called.
    """

    tools: tuple[Tool, ...]
    must_call: bool = False
    is_named: bool = False
    is_limited: bool = False


def read_tool_choice(request: Any) -> ToolChoice:
    """Read what a request may call.

    Raises:
        UncallableTools: A call is required, but none of the tools can be called.
    """
    choice = getattr(request, "tool_choice", None)  # Requests to /tokenize have none.
    if choice in ("none", None) or not request.tools:
        return ToolChoice(())
    tools = tuple(tool for tool in named_tools(request.tools) if tool.is_callable)
    if isinstance(choice, str):
        read = ToolChoice(tools, must_call=choice == "required")
    elif choice.type == "allowed_tools":
        allowed = [tool.get("name") for tool in choice.tools]
        chosen = (tool for tool in tools if tool.name in allowed or tool.short_name in allowed)
        read = ToolChoice(tuple(chosen), choice.mode == "required", is_limited=True)
    else:
        name = named_function(choice)
        chosen = (tool for tool in tools if tool.name == name)
        read = ToolChoice(tuple(chosen), must_call=True, is_named=True, is_limited=True)
    if read.must_call and not read.tools:
        raise UncallableTools(
            "The tool_choice requires a call, but the model can call none of the tools that it "
            "names. It can call functions, and custom tools that have a name. It cannot call "
            "hosted tools (web_search, mcp, ...), because nothing here runs them."
        )
    return read


def named_function(choice: Any) -> str | None:
    """The function that a ``tool_choice`` names; None where it names none."""
    return getattr(getattr(choice, "function", choice), "name", None)


def named_tools(tools: Iterable[Any], namespace: str = "") -> Iterator[Tool]:
    """All tools that have a name, those of a namespace in its place.

    As vLLM's ``tool_parsers.utils.get_function_tools`` names them (0.32).
    """
    for tool in tools:
        # Chat Completions has the name a level deeper than Responses.
        function = getattr(tool, "function", tool)
        kind = getattr(tool, "type", "function")
        name = getattr(function, "name", None)
        if not name:
            continue
        if kind == "namespace":
            yield from named_tools(tool.tools, f"{name}__")
        elif kind == "custom":
            yield Tool(namespace + name, name, kind, _CUSTOM_PARAMETERS, None)
        else:
            parameters = getattr(function, "parameters", None)
            strict = getattr(function, "strict", None)
            yield Tool(namespace + name, name, kind, parameters, strict)
