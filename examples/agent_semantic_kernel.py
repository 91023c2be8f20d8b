"""An agent with Semantic Kernel.

`python agent_semantic_kernel.py http://localhost:8000/v1 MODEL`
"""

from __future__ import annotations

import asyncio

from area_tool import DESCRIPTION, NAME, PARAMETERS, QUESTION, convert_area
from openai import AsyncOpenAI
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import (
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
)
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import (
    KernelFunctionFromMethod,
    KernelParameterMetadata,
    kernel_function,
)
from served_model import served_model


async def main() -> None:
    url, name = served_model()
    client = AsyncOpenAI(base_url=url, api_key="none")
    model = OpenAIChatCompletion(ai_model_id=name, async_client=client)
    kernel = Kernel()
    # Of the function alone it makes another schema: its `Literal`s would be objects.
    function = KernelFunctionFromMethod(
        kernel_function(convert_area, name=NAME, description=DESCRIPTION),
        parameters=[
            KernelParameterMetadata(name=key, schema_data=schema, is_required=True)
            for key, schema in PARAMETERS["properties"].items()
        ],
    )
    added = kernel.add_function("area", function)
    added.metadata.plugin_name = None  # Else the model is shown `area-convert_area`.
    settings = OpenAIChatPromptExecutionSettings(
        temperature=0, function_choice_behavior=FunctionChoiceBehavior.Auto()
    )
    history = ChatHistory()
    history.add_user_message(QUESTION)
    answer = ""
    async for chunk in model.get_streaming_chat_message_content(history, settings, kernel=kernel):
        answer += str(chunk)
    print(answer)


asyncio.run(main())
