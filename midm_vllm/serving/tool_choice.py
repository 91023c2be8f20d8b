"""The tools of a request under the names that the model is shown, of the chat API and Responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NamedTool:
    """A tool, and its name with its namespace's, where it has one, and without.

    ``function`` holds the name: the tool itself in Responses, a part of it in the chat API.
    """

    name: str
    short_name: str
    kind: str
    function: Any

    @property
    def is_in_namespace(self) -> bool:
        return self.name != self.short_name


def named_tools(tools: Iterable[Any], namespace: str = "") -> Iterator[NamedTool]:
    """All that have a name, those of a namespace in its place.

    As vLLM's ``tool_parsers.utils.get_function_tools`` names them (0.32).
    """
    for tool in tools:
        function = getattr(tool, "function", tool)
        kind = getattr(tool, "type", "function")
        name = getattr(function, "name", None)
        if not name:
            continue
        if kind == "namespace":
            yield from named_tools(tool.tools, f"{name}__")
        else:
            yield NamedTool(namespace + name, name, kind, function)
