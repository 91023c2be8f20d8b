"""Tool calls without a server: ask with ``LLM.chat``, read the call, run it, ask again.

    python examples/offline_tools.py [MODEL]
"""

import json
import sys

from vllm import LLM, SamplingParams

from midm_vllm.offline import parse

MODEL = "K-intelligence/Midm-2.0-Mini-Instruct"
CONVERT_AREA = {
    "type": "function",
    "function": {
        "name": "convert_area",
        "description": "넓이의 단위를 바꾼다.",
        "parameters": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "from_unit": {"type": "string", "enum": ["제곱미터", "평"]},
                "to_unit": {"type": "string", "enum": ["제곱미터", "평"]},
            },
            "required": ["value", "from_unit", "to_unit"],
        },
    },
}


def convert_area(value: float, from_unit: str, to_unit: str) -> dict[str, object]:
    square_metres = value * 400 / 121 if from_unit == "평" else value
    converted = square_metres * 121 / 400 if to_unit == "평" else square_metres
    return {"value": round(converted, 2), "unit": to_unit}


def main(model: str) -> None:
    llm = LLM(model, max_model_len=4096, enforce_eager=True)
    sampling = SamplingParams(temperature=0, max_tokens=512)
    messages: list[dict[str, object]] = [{"role": "user", "content": "84제곱미터는 몇 평이야?"}]
    while True:
        [answer] = llm.chat(messages, sampling, tools=[CONVERT_AREA], use_tqdm=False)
        output = parse(answer.outputs[0].text)
        print("Mi:dm:", output.content or [(call.name, call.value) for call in output.calls])
        # A call that was cut off, or whose arguments are no JSON, must not run.
        if not output.calls or not all(call.complete and call.value for call in output.calls):
            return
        messages.append(output.to_openai())
        for index, call in enumerate(output.calls):
            result = json.dumps(convert_area(**call.value), ensure_ascii=False)
            messages.append({"role": "tool", "tool_call_id": f"call_{index}", "content": result})
            print("tool: ", result)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else MODEL)
