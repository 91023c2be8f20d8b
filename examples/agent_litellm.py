"""An agent with LiteLLM: `python agent_litellm.py http://localhost:8000/v1 MODEL`."""

from __future__ import annotations

import json
from typing import Any

import litellm
from area_tool import QUESTION, TOOL, convert_area
from served_model import served_model

url, name = served_model()
messages: list[Any] = [{"role": "user", "content": QUESTION}]
while True:
    chunks = litellm.completion(
        # `hosted_vllm/` would drop `strict` and `additionalProperties`.
        model=f"openai/{name}", api_base=url, api_key="none",
        messages=messages, tools=[TOOL], temperature=0, stream=True,
    )
    answer = litellm.stream_chunk_builder(list(chunks)).choices[0].message
    if not answer.tool_calls:
        break
    messages.append(answer)
    for call in answer.tool_calls:
        result = convert_area(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(answer.content)
