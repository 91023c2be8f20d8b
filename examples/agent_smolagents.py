"""An agent with smolagents: `python agent_smolagents.py http://localhost:8000/v1 MODEL`."""

from __future__ import annotations

import sys
from typing import Any

from area_tool import DESCRIPTION, NAME, PARAMETERS, QUESTION, Unit, convert_area
from served_model import served_model
from smolagents import LogLevel, OpenAIModel, Tool, ToolCallingAgent

url, name = served_model()


class ConvertArea(Tool):
    name = NAME
    description = DESCRIPTION
    inputs = {
        key: {"description": "", **schema} for key, schema in PARAMETERS["properties"].items()
    }
    output_type = "string"

    def forward(self, value: float, from_unit: Unit, to_unit: Unit) -> str:
        return convert_area(value, from_unit, to_unit)


def number_calls(step: Any, agent: ToolCallingAgent) -> None:
    """Short ids: the model reads its calls as text, and the server's ids are long and random."""
    for index, call in enumerate(step.tool_calls or []):
        call.id = f"call_{index}"


agent = ToolCallingAgent(
    [ConvertArea()],
    OpenAIModel(
        name, api_base=url, api_key="none", temperature=0,
        parallel_tool_calls=False,  # The answer is a call too, and has to come alone.
    ),
    max_steps=4,
    step_callbacks=[number_calls],
    verbosity_level=LogLevel.ERROR,
)
# smolagents' own prompt is long, in English, and shows calls in another form than Mi:dm's.
agent.prompt_templates["system_prompt"] = (
    "주어진 함수로 문제를 풀고, 답을 알게 되면 final_answer로 한 문장으로 답하세요."
)
run = agent.run(QUESTION, return_full_result=True)
if run.state != "success":
    sys.exit(f"No final_answer in {agent.max_steps} steps. The last words: {run.output}")
print(run.output)
