"""An agent over MCP: `python agent_mcp.py http://localhost:8000/v1 MODEL [SERVER [QUESTION]]`.

SERVER has the tools: its address (`http://127.0.0.1:9000/mcp`), or a Python file that is started
and spoken to over its standard input and output; `mcp_area_server.py` unless it is told.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from area_tool import QUESTION
from mcp import Client, StdioServerParameters
from openai import AsyncOpenAI
from served_model import served_model


async def ask(client: AsyncOpenAI, **request: Any) -> Any:
    """The model's choice; its text is printed as it arrives."""
    async with client.chat.completions.stream(temperature=0, **request) as events:
        async for event in events:
            if event.type == "content.delta":
                print(event.delta, end="", flush=True)
        choice = (await events.get_final_completion()).choices[0]
    if choice.message.content:
        print()
    return choice


async def run_call(server: Client, function: Any) -> str:
    """What the tool says, or what is wrong with the call: the model reads either."""
    try:
        arguments = json.loads(function.arguments)
    except json.JSONDecodeError as error:
        return f"The arguments are no JSON: {error}"
    print(function.name, *arguments.values())
    result = await server.call_tool(function.name, arguments)
    return "\n".join(part.text for part in result.content if part.type == "text")


async def main(source: str = "", question: str = QUESTION) -> str | None:
    """Answer the question; what it returns is what went wrong."""
    url, name = served_model()
    if not source.startswith(("http://", "https://")):
        file = source or str(Path(__file__).with_name("mcp_area_server.py"))
        source = StdioServerParameters(command=sys.executable, args=[file])
    async with Client(source) as server, AsyncOpenAI(base_url=url, api_key="none") as client:
        tools = [
            {"type": "function", "function": {
                "name": tool.name, "description": tool.description, "parameters": tool.input_schema,
            }}
            for tool in (await server.list_tools()).tools
        ]
        messages: list[Any] = [{"role": "user", "content": question}]
        while True:
            choice = await ask(client, model=name, messages=messages, tools=tools)
            if choice.finish_reason == "length":
                return "The answer was cut off: a call that is not whole must not run."
            calls = choice.message.tool_calls
            if not calls:
                return None
            messages.append({"role": "assistant", "content": choice.message.content, "tool_calls": [
                {"id": call.id, "type": "function", "function": {
                    "name": call.function.name, "arguments": call.function.arguments,
                }}
                for call in calls
            ]})
            results = await asyncio.gather(*(run_call(server, call.function) for call in calls))
            for call, result in zip(calls, results):
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[3:])))
