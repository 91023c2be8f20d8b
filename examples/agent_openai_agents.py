"""An agent with OpenAI's SDK: `python agent_openai_agents.py http://localhost:8000/v1 MODEL`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from agents import (
    Agent,
    FunctionTool,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    set_tracing_disabled,
)
from area_tool import DESCRIPTION, NAME, PARAMETERS, QUESTION, convert_area
from openai import AsyncOpenAI
from served_model import served_model

url, name = served_model()
set_tracing_disabled(True)  # Traces would go to OpenAI.


async def call_tool(context: Any, arguments: str) -> str:
    return convert_area(**json.loads(arguments))


agent = Agent(
    name="assistant",
    model=OpenAIChatCompletionsModel(name, AsyncOpenAI(base_url=url, api_key="none")),
    model_settings=ModelSettings(temperature=0),
    tools=[FunctionTool(NAME, DESCRIPTION, PARAMETERS, call_tool, strict_json_schema=False)],
)


async def main() -> None:
    run = Runner.run_streamed(agent, QUESTION)
    async for _ in run.stream_events():
        pass
    print(run.final_output)


asyncio.run(main())
