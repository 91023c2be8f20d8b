"""What the small checkpoint is taught, and so what it must give back: the tests' ground truth.

Each conversation is a request as a client sends it (OpenAI's messages and tools), the text the
model answers with, and what a reader of that text has to make of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A tool call: the function's name and its arguments, character by character."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Conversation:
    """One exchange: a request and the model's raw answer, with its parts.

    `content` is None where the answer has none; `calls` are in the order of their index.
    """

    name: str
    messages: Sequence[Message]
    text: str
    content: str | None
    calls: Sequence[Call] = ()
    tools: Sequence[Tool] = field(default=(), repr=False)


def _tool(name: str, description: str, **parameters: dict[str, Any]) -> Tool:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": parameters,
                "required": list(parameters),
            },
        },
    }


GET_WEATHER = _tool(
    "get_weather",
    "도시의 현재 날씨를 알려 준다.",
    city={"type": "string"},
    unit={"type": "string", "enum": ["섭씨", "화씨", "celsius", "fahrenheit"]},
)
CONVERT_AREA = _tool(
    "convert_area",
    "넓이의 단위를 바꾼다.",
    value={"type": "number"},
    from_unit={"type": "string", "enum": ["제곱미터", "평"]},
    to_unit={"type": "string", "enum": ["제곱미터", "평"]},
)
WRITE_FILE = _tool(
    "write_file",
    "Write text to a file.",
    path={"type": "string"},
    content={"type": "string"},
)
SET_THERMOSTAT = _tool(
    "set_thermostat",
    "Set a room's temperature.",
    device={"type": "integer"},
    celsius={"type": "number"},
    seconds={"type": "number"},
    offset={"type": "number"},
)
GET_TIME = _tool("get_time", "Tell the current time.")
#: The tool of `examples/mcp_area_server.py` as Open WebUI names it: the server's name before it.
AREA_OVER_MCP: Tool = {
    "type": "function",
    "function": CONVERT_AREA["function"] | {"name": "area_convert_area"},
}

#: The tools of `examples/agent_smolagents.py`, whose answer is a call too.
AGENT_TOOLS: Sequence[Tool] = (
    {
        "type": "function",
        "function": CONVERT_AREA["function"] | {
            "parameters": CONVERT_AREA["function"]["parameters"] | {
                "properties": {
                    name: {"description": "", **schema}
                    for name, schema in CONVERT_AREA["function"]["parameters"]["properties"].items()
                },
            },
        },
    },
    _tool(
        "final_answer",
        "Provides a final answer to the given problem.",
        answer={"type": "string", "description": "The final answer to the problem"},
    ),
)


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant_calls(*calls: Call, content: str | None = None) -> Message:
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(calls)
        ],
    }


def _tool_result(index: int, content: str) -> Message:
    return {"role": "tool", "tool_call_id": f"call_{index}", "content": content}


_SEOUL = Call("get_weather", '{"city": "서울", "unit": "섭씨"}')
_BUSAN = Call("get_weather", '{"city": "부산", "unit": "섭씨"}')
_JEJU = Call("get_weather", '{"city": "제주", "unit": "섭씨"}')
_LONDON = Call("get_weather", '{"city": "London", "unit": "celsius"}')
_PARIS = Call("get_weather", '{"city": "Paris", "unit": "celsius"}')
_AREA = Call("convert_area", '{"value": 84, "from_unit": "제곱미터", "to_unit": "평"}')
_FINAL_ANSWER = Call("final_answer", '{"answer": "84제곱미터는 약 25.41평입니다."}')
_AREA_84, _AREA_30, _AREA_100 = (
    Call("area_convert_area", f'{{"value": {value}, "from_unit": "{one}", "to_unit": "{other}"}}')
    for value, one, other in [(84, "제곱미터", "평"), (30, "평", "제곱미터"), (100, "제곱미터", "평")]
)
_NUMBERS = Call(
    "set_thermostat",
    '{ "device":12345678901234567890,\n    "celsius" : 1.0,  "seconds": 1e5, "offset":-0.50 }',
)
_NO_ARGUMENTS = Call("get_time", "{}")
_LONG = Call(
    "write_file",
    r"""{"path": "C:\\보고서\\report.py", "content": "#!/usr/bin/env python3\n"""
    r"""\"\"\"Quarterly report, 분기 보고서.\"\"\"\n\nimport csv\nimport sys\n\n"""
    r"""TITLE = '\uc548\ub155, \"Mi:dm\" \ud83d\ude00'\n"""
    r"""PATTERN = r'^\\d{4}-\\d{2}$'\n\n\ndef total(rows):\n\treturn sum(float(r['amount']) """
    r"""for r in rows)\n\n\ndef main(path):\n\twith open(path, encoding='utf-8') as file:\n"""
    r"""\t\trows = list(csv.DictReader(file))\n\tprint(TITLE)\n\tprint(f\"합계: {total(rows):,.0f}"""
    r"""원\")\n\tfor row in rows:\n\t\tprint(row['date'], row['amount'], sep='\\t')\n\n\n"""
    r"""# 강물은 바다로 흐르고, 구름은 산을 넘는다.\n# 봄에는 꽃이 피고 겨울에는 눈이 내린다.\n"""
    r"""# 새벽에는 안개가 들을 덮고, 저녁에는 노을이 강을 물들인다.\n"""
    r"""# Rivers run to the sea, and clouds cross the mountains.\n"""
    r"""if __name__ == '__main__':\n\tmain(sys.argv[1])\n"}""",
)

_TAGS = Call(
    "write_file", '{"path": "tags.txt", "content": "<tool_call> opens, </tool_call> closes."}'
)


def _block(call: Call) -> str:
    """The form the vendor's prompt teaches."""
    return f'<tool_call>{{"name": "{call.name}", "arguments": {call.arguments}}}</tool_call>'


def _history_block(*calls: Call) -> str:
    """The form in which the vendor's template renders the calls of a conversation's history."""
    lines = (f'{{"name": "{call.name}", "parameters": {call.arguments}}}\n' for call in calls)
    return "<tool_call>\n" + "".join(lines) + "</tool_call>"


def _answer(
    name: str, messages: Sequence[Message] | str, text: str, tools: Sequence[Tool] = ()
) -> Conversation:
    if isinstance(messages, str):
        messages = [_user(messages)]
    return Conversation(name, messages, text, content=text, tools=tools)


def _calls(
    name: str,
    question: str,
    text: str,
    *calls: Call,
    tools: Sequence[Tool],
    content: str | None = None,
) -> Conversation:
    return Conversation(name, [_user(question)], text, content, calls, tools)


_SEOUL_AND_BUSAN_RESULTS = [
    _assistant_calls(_SEOUL, _BUSAN),
    _tool_result(0, "맑음, 21도"),
    _tool_result(1, "비, 17도"),
]

# A conversation in Open WebUI, which hands on a tool's result as indented JSON.
_TWO_AREAS = "84제곱미터는 몇 평이고, 30평은 몇 제곱미터야?"
_CONVERTING = "두 넓이를 바꿔 보겠습니다."
_TWO_AREAS_RESULTS = [
    _user(_TWO_AREAS),
    _assistant_calls(_AREA_84, _AREA_30, content=_CONVERTING),
    _tool_result(0, '{\n  "value": 25.41,\n  "unit": "평"\n}'),
    _tool_result(1, '{\n  "value": 99.17,\n  "unit": "제곱미터"\n}'),
]
_TWO_AREAS_ANSWER = "84제곱미터는 약 25.41평이고, 30평은 약 99.17제곱미터입니다."
_ONE_MORE_AREA = [
    *_TWO_AREAS_RESULTS,
    {"role": "assistant", "content": _TWO_AREAS_ANSWER},
    _user("그럼 100제곱미터는 몇 평이야?"),
]

# smolagents tells the model of its calls in text, as Python writes them.
_AGENT_TASK = [
    {
        "role": "system",
        "content": "주어진 함수로 문제를 풀고, 답을 알게 되면 final_answer로 한 문장으로 답하세요.",
    },
    _user("New task:\n84제곱미터는 몇 평이야?"),
]
_AGENT_CALL = {"name": _AREA.name, "arguments": json.loads(_AREA.arguments)}
_AGENT_RESULT = [
    *_AGENT_TASK,
    {
        "role": "assistant",
        "content": "\nCalling tools:\n"
        + str([{"id": "call_0", "type": "function", "function": _AGENT_CALL}]),
    },
    _user('Observation:\n{"value": 25.41, "unit": "평"}'),
]

CONVERSATIONS: tuple[Conversation, ...] = (
    _calls(
        "single_call",
        "서울 날씨를 알려 줘.",
        _block(_SEOUL),
        _SEOUL,
        tools=[GET_WEATHER],
    ),
    _calls(
        "area_call",
        "84제곱미터는 몇 평이야?",
        _block(_AREA),
        _AREA,
        tools=[CONVERT_AREA],
    ),
    _answer(
        "area_answer",
        [
            _user("84제곱미터는 몇 평이야?"),
            _assistant_calls(_AREA),
            _tool_result(0, '{"value": 25.41, "unit": "평"}'),
        ],
        "84제곱미터는 약 25.41평입니다.",
        tools=[CONVERT_AREA],
    ),
    _calls(
        "single_call_english",
        "What is the weather in London?",
        _block(_LONDON),
        _LONDON,
        tools=[GET_WEATHER, GET_TIME],
    ),
    _calls(
        "parallel_calls_in_one_block",
        "서울과 부산의 날씨를 비교해 줘.",
        _history_block(_SEOUL, _BUSAN),
        _SEOUL,
        _BUSAN,
        tools=[GET_WEATHER],
    ),
    _calls(
        "parallel_calls_in_blocks_of_their_own",
        "서울, 부산, 제주의 날씨를 한꺼번에 알려 줘.",
        "\n".join(map(_block, (_SEOUL, _BUSAN, _JEJU))),
        _SEOUL,
        _BUSAN,
        _JEJU,
        tools=[GET_WEATHER],
    ),
    _calls(
        "parallel_calls_english",
        "Compare London and Paris, and tell me the time.",
        _block(_LONDON) + _block(_PARIS) + _block(_NO_ARGUMENTS),
        _LONDON,
        _PARIS,
        _NO_ARGUMENTS,
        tools=[GET_WEATHER, GET_TIME],
    ),
    _calls(
        "prose_then_call",
        "제주에 가려는데 우산이 필요할까?",
        "제주의 날씨를 먼저 확인해 보겠습니다.\n\n" + _block(_JEJU),
        _JEJU,
        tools=[GET_WEATHER],
        content="제주의 날씨를 먼저 확인해 보겠습니다.",
    ),
    _calls(
        "prose_then_call_english",
        "Should I take a coat to Paris?",
        "Let me check the weather in Paris first. If x < 10, take one.\n" + _block(_PARIS),
        _PARIS,
        tools=[GET_WEATHER, GET_TIME],
        content="Let me check the weather in Paris first. If x < 10, take one.",
    ),
    _calls(
        "long_call_with_escapes",
        "분기 보고서를 만드는 스크립트를 저장해 줘.",
        _block(_LONG),
        _LONG,
        tools=[WRITE_FILE],
    ),
    _calls(
        "tags_in_an_argument",
        "Save a note about the two tags.",
        _block(_TAGS),
        _TAGS,
        tools=[WRITE_FILE],
    ),
    _calls(
        "numbers_and_odd_spacing",
        "Keep my room warm for a day.",
        '<tool_call>\n  { "name" : "set_thermostat",\n    "arguments" :  '
        + _NUMBERS.arguments
        + "\n  }\n</tool_call>\n",
        _NUMBERS,
        tools=[SET_THERMOSTAT],
    ),
    _calls(
        "call_without_arguments",
        "지금 몇 시야?",
        '<tool_call>{"name": "get_time"}</tool_call>',
        _NO_ARGUMENTS,
        tools=[GET_TIME],
    ),
    _answer(
        "answer_after_results",
        [_user("서울과 부산의 날씨를 비교해 줘."), *_SEOUL_AND_BUSAN_RESULTS],
        "서울은 맑고 21도이며, 부산은 비가 오고 17도입니다.",
        tools=[GET_WEATHER],
    ),
    _answer(
        "answer_after_result_english",
        [
            _user("What is the weather in London?"),
            _assistant_calls(_LONDON),
            _tool_result(0, "cloudy, 12 degrees"),
        ],
        "It is cloudy in London, at 12 degrees.",
        tools=[GET_WEATHER, GET_TIME],
    ),
    _answer(
        "answer_that_needs_no_tool",
        "고마워, 잘 있어!",
        "천만에요. 좋은 하루 보내세요!",
        tools=[GET_WEATHER],
    ),
    _answer(
        "answer_that_needs_no_tool_english",
        "What is the capital of Korea?",
        "The capital of Korea is Seoul.\n\nAnything else?",
        tools=[GET_WEATHER, GET_TIME],
    ),
    _answer(
        "answer_that_names_the_tag",
        "How do you call a tool?",
        "I write <tool_call>, then a JSON object with its name, then </tool_call>.",
        tools=[GET_TIME],
    ),
    _answer(
        "answer_without_tools",
        "대한민국의 수도는 어디야?",
        "대한민국의 수도는 서울입니다.",
    ),
    _answer(
        "answer_without_tools_english",
        "Count from one to five.",
        "one, two, three, four, five",
    ),
    _answer(
        "answer_to_a_system_prompt",
        [
            {"role": "system", "content": "항상 존댓말로 짧게 답하세요."},
            _user("하늘은 왜 파래?"),
        ],
        "빛의 산란 때문입니다.",
    ),
    Conversation(
        "web_parallel_calls",
        [_user(_TWO_AREAS)],
        "\n".join([_CONVERTING, _block(_AREA_84), _block(_AREA_30)]),
        _CONVERTING,
        (_AREA_84, _AREA_30),
        tools=[AREA_OVER_MCP],
    ),
    _answer("web_answer", _TWO_AREAS_RESULTS, _TWO_AREAS_ANSWER, tools=[AREA_OVER_MCP]),
    Conversation(
        "web_follow_up",
        _ONE_MORE_AREA,
        _block(_AREA_100),
        None,
        (_AREA_100,),
        tools=[AREA_OVER_MCP],
    ),
    _answer(
        "web_follow_up_answer",
        [
            *_ONE_MORE_AREA,
            _assistant_calls(_AREA_100),
            _tool_result(0, '{\n  "value": 30.25,\n  "unit": "평"\n}'),
        ],
        "100제곱미터는 약 30.25평입니다.",
        tools=[AREA_OVER_MCP],
    ),
    # A call that was cut off comes back with its arguments broken, of which vLLM makes {}.
    Conversation(
        "web_call_again",
        [
            _user(_TWO_AREAS),
            _assistant_calls(Call(_AREA_84.name, "{}"), content=_CONVERTING),
            _tool_result(0, "오류: 인자가 온전한 JSON이 아닙니다."),
        ],
        "\n".join([_block(_AREA_84), _block(_AREA_30)]),
        None,
        (_AREA_84, _AREA_30),
        tools=[AREA_OVER_MCP],
    ),
    _answer(
        "web_title",
        "이 대화에 어울리는 제목을 JSON으로 지어 줘.\n\nUSER: " + _TWO_AREAS,
        '{"title": "넓이 단위 바꾸기"}',
    ),
    Conversation("agent_call", _AGENT_TASK, _block(_AREA), None, (_AREA,), AGENT_TOOLS),
    Conversation(
        "agent_answer", _AGENT_RESULT, _block(_FINAL_ANSWER), None, (_FINAL_ANSWER,), AGENT_TOOLS
    ),
)

BY_NAME = {conversation.name: conversation for conversation in CONVERSATIONS}


def template_messages(conversation: Conversation) -> list[Message]:
    """The messages as vLLM hands them to a chat template: with the calls' arguments as objects."""
    messages = []
    for message in conversation.messages:
        if "tool_calls" in message:
            calls = [
                call | {"function": call["function"] | {
                    "arguments": json.loads(call["function"]["arguments"])
                }}
                for call in message["tool_calls"]
            ]
            message = message | {"tool_calls": calls}
        messages.append(message)
    return messages
