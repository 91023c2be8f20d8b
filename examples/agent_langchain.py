"""An agent with LangChain: `python agent_langchain.py http://localhost:8000/v1 MODEL`."""

from __future__ import annotations

from area_tool import QUESTION, TOOL, convert_area
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from served_model import served_model

url, name = served_model()
model = ChatOpenAI(base_url=url, model=name, api_key="none", temperature=0).bind_tools([TOOL])
messages: list[BaseMessage] = [HumanMessage(QUESTION)]
while True:
    answer = AIMessageChunk("")
    for chunk in model.stream(messages):
        answer += chunk
    if not answer.tool_calls:
        break
    messages.append(answer)
    for call in answer.tool_calls:
        messages.append(ToolMessage(convert_area(**call["args"]), tool_call_id=call["id"]))
print(answer.content)
