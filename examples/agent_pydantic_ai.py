"""An agent with pydantic-ai: `python agent_pydantic_ai.py http://localhost:8000/v1 MODEL`."""

from __future__ import annotations

import asyncio

from area_tool import DESCRIPTION, NAME, PARAMETERS, QUESTION, convert_area
from pydantic_ai import Agent, Tool
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from served_model import served_model

url, name = served_model()
tool = Tool.from_schema(convert_area, NAME, DESCRIPTION, PARAMETERS)
tool.strict = False  # The schema reaches the model as it is, nothing added.
agent = Agent(
    OpenAIChatModel(name, provider=OpenAIProvider(base_url=url, api_key="none")),
    tools=[tool],
    model_settings=ModelSettings(temperature=0),
)


async def main() -> None:
    async with agent.run_stream(QUESTION) as run:
        print(await run.get_output())


asyncio.run(main())
