"""The table of model outputs and what a reader must make of them.

Add a row to extend it: every test over the table, from the reader alone to a
server over HTTP, picks it up. ``calls`` are (name, arguments) pairs; a call
that the output cuts off counts, with the arguments that arrived.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    content: str = ""
    calls: tuple[tuple[str, str], ...] = ()


WEATHER = '{"city": "서울", "unit": "celsius"}'
LONG = "가나다 \\n " * 2_000

CASES = [
    # The vendor's forms.
    Case(
        "one call",
        '<tool_call>{"name": "get_weather", "arguments": {"city": "서울"}}</tool_call>',
        calls=(("get_weather", '{"city": "서울"}'),),
    ),
    Case(
        "the history's form",
        '<tool_call>\n{"name": "a", "parameters": {"x": 1}}\n'
        '{"name": "b", "parameters": {"y": 2}}\n</tool_call>',
        calls=(("a", '{"x": 1}'), ("b", '{"y": 2}')),
    ),
    Case(
        "blocks one after the other",
        '<tool_call>{"name": "a", "arguments": {"x": 1}}</tool_call>\n\n'
        '<tool_call>{"name": "b", "arguments": {"y": 2}}</tool_call>',
        calls=(("a", '{"x": 1}'), ("b", '{"y": 2}')),
    ),
    # Content and whitespace.
    Case("nothing", ""),
    Case("plain text", "안녕하세요!\n반갑습니다. ", "안녕하세요!\n반갑습니다. "),
    Case("whitespace alone", " \n\t ", " \n\t "),
    Case("an angle bracket at the end", "1 < 2 <", "1 < 2 <"),
    Case("an opening tag cut off", "자, <tool_cal", "자, <tool_cal"),
    Case("almost a tag", "a <tool_cal> b <tool_call", "a <tool_cal> b <tool_call"),
    Case("a tag begun twice", "<to<tool_ca<", "<to<tool_ca<"),
    Case("a closing tag in prose", "a </tool_call> b", "a </tool_call> b"),
    Case(
        "content before",
        '확인해 보겠습니다.\n\n<tool_call>{"name": "a", "arguments": {}}</tool_call>',
        "확인해 보겠습니다.",
        (("a", "{}"),),
    ),
    Case(
        "content before, between and after",
        'one \n<tool_call>{"name": "a", "arguments": {}}</tool_call> two\n'
        '<tool_call>{"name": "b", "arguments": {}}</tool_call>\nthree \n',
        "one two\nthree \n",
        (("a", "{}"), ("b", "{}")),
    ),
    Case(
        "whitespace after the last block",
        '<tool_call>{"name": "a", "arguments": {}}</tool_call>\n \n',
        calls=(("a", "{}"),),
    ),
    Case(
        "a closing tag too many",
        '<tool_call>{"name": "a", "arguments": {}}</tool_call></tool_call>',
        "</tool_call>",
        (("a", "{}"),),
    ),
    # What is no block.
    Case(
        "the tag in an explanation",
        "Calls stand between <tool_call> and </tool_call> tags.",
        "Calls stand between <tool_call> and </tool_call> tags.",
    ),
    Case("an empty block", " <tool_call></tool_call> ", " <tool_call></tool_call> "),
    Case("an empty array", "<tool_call>[ ]</tool_call>", "<tool_call>[ ]</tool_call>"),
    Case("an empty object", "<tool_call>{}</tool_call>", "<tool_call>{}</tool_call>"),
    Case("an array of strings", '<tool_call>["a"]</tool_call>', '<tool_call>["a"]</tool_call>'),
    Case(
        "no name",
        '\n<tool_call>{"arguments": {"x": 1}}</tool_call>\n',
        '\n<tool_call>{"arguments": {"x": 1}}</tool_call>\n',
    ),
    Case(
        "a name that is no string",
        '<tool_call>{"name": 7, "arguments": {}}</tool_call>',
        '<tool_call>{"name": 7, "arguments": {}}</tool_call>',
    ),
    Case(
        "JSON broken before the name",
        "<tool_call>{name: 'a'}</tool_call>",
        "<tool_call>{name: 'a'}</tool_call>",
    ),
    Case(
        "a missing quote before the arguments",
        '<tool_call>{"name": "a, "arguments": {"x": 1}}</tool_call>',
        '<tool_call>{"name": "a, "arguments": {"x": 1}}</tool_call>',
    ),
    Case(
        "a trailing comma before the call is certain",
        '<tool_call>{"name": "a",}</tool_call>',
        '<tool_call>{"name": "a",}</tool_call>',
    ),
    Case(
        "arguments and parameters",
        '<tool_call>{"arguments": {}, "parameters": {}, "name": "a"}</tool_call>',
        '<tool_call>{"arguments": {}, "parameters": {}, "name": "a"}</tool_call>',
    ),
    Case(
        "arguments that are no JSON value",
        '<tool_call>{"name": "a", "arguments": oops}</tool_call>',
        '<tool_call>{"name": "a", "arguments": oops}</tool_call>',
    ),
    Case(
        "arguments missing behind their colon",
        '<tool_call>{"name": "a", "arguments": }</tool_call>',
        '<tool_call>{"name": "a", "arguments": }</tool_call>',
    ),
    Case(
        "a tag in prose, then a call",
        'Use <tool_call> like this: <tool_call>{"name": "a", "arguments": {}}</tool_call>',
        "Use <tool_call> like this:",
        (("a", "{}"),),
    ),
    Case(
        "a tag, whitespace, and a block",
        '<tool_call> \n<tool_call>{"name": "a", "arguments": {}}</tool_call>',
        "<tool_call>",
        (("a", "{}"),),
    ),
    Case(
        "a call in a broken object's string",
        '<tool_call>{"x": "<tool_call>{"name": "a", "arguments": {}}</tool_call>',
        '<tool_call>{"x": "',
        (("a", "{}"),),
    ),
    Case(
        "a broken block, then a good one",
        '<tool_call>{"nam": "a"}</tool_call>\n'
        '<tool_call>{"name": "b", "arguments": {}}</tool_call>',
        '<tool_call>{"nam": "a"}</tool_call>',
        (("b", "{}"),),
    ),
    Case(
        "a backslash outside a string, without a name",
        '<tool_call>{"arguments": [\\"<tool_call>{"arguments": [\\"',
        '<tool_call>{"arguments": [\\"<tool_call>{"arguments": [\\"',
    ),
    # The object's shape.
    Case(
        "whitespace everywhere",
        '<tool_call>\r\n\t{ "name" :\n"a" ,\n "arguments"\t: { "x" : 1 }\n }\n</tool_call>',
        calls=(("a", '{ "x" : 1 }'),),
    ),
    Case(
        "an array of calls",
        '<tool_call>[{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": {}}]'
        "</tool_call>",
        calls=(("a", '{"x": 1}'), ("b", "{}")),
    ),
    Case(
        "commas between objects",
        '<tool_call>{"name": "a", "arguments": {}},\n{"name": "b", "arguments": {}}</tool_call>',
        calls=(("a", "{}"), ("b", "{}")),
    ),
    Case(
        "arguments before the name",
        '<tool_call>{"arguments": {"x": [1, "a"]}, "name": "a"}</tool_call>',
        calls=(("a", '{"x": [1, "a"]}'),),
    ),
    Case(
        "arguments in a string before the name",
        '<tool_call>{"arguments": "{\\"x\\": 1}", "name": "a"}</tool_call>',
        calls=(("a", '{"x": 1}'),),
    ),
    Case(
        "null before the name",
        '<tool_call>{"arguments": null, "name": "a"}</tool_call>',
        calls=(("a", "{}"),),
    ),
    Case(
        "extra keys around",
        '<tool_call>{"id": "c-1", "type": {"of": ["function", 1.5, true]}, "name": "a", "n": null, '
        '"arguments": {"x": 1}, "why": "because } of </tool_call>", "k": [{}]}</tool_call>',
        calls=(("a", '{"x": 1}'),),
    ),
    Case(
        "arguments repeated after the call is certain",
        '<tool_call>{"name": "a", "arguments": {"x": 1}, "parameters": {"y": 2}, "name": "b"}'
        "</tool_call>",
        calls=(("a", '{"x": 1}'),),
    ),
    Case(
        "a name with escapes and Hangul",
        '<tool_call>{"na\\u006de": "날\\u0041씨\\"\\\\", "arguments": {}}</tool_call>',
        calls=(('날A씨"\\', "{}"),),
    ),
    Case("no arguments", '<tool_call>{"name": "a"}</tool_call>', calls=(("a", "{}"),)),
    Case(
        "empty arguments",
        '<tool_call>{"name": "a", "arguments": {}}</tool_call>',
        calls=(("a", "{}"),),
    ),
    Case(
        "null arguments",
        '<tool_call>{"name": "a", "arguments": null}</tool_call>',
        calls=(("a", "{}"),),
    ),
    Case(
        "an empty string as arguments",
        '<tool_call>{"name": "a", "arguments": ""}</tool_call>',
        calls=(("a", "{}"),),
    ),
    Case(
        "empty arguments, then a call with arguments",
        '<tool_call>{"name": "a", "arguments": {}}</tool_call>\n'
        '<tool_call>{"name": "b", "arguments": {"x": 1}}</tool_call>',
        calls=(("a", "{}"), ("b", '{"x": 1}')),
    ),
    Case(
        "arguments that are a list, a number, true and nearly null",
        '<tool_call>{"name": "a", "arguments": [1, {"x": "]"}]}{"name": "b", "arguments": -1.50e3}'
        '{"name": "c", "arguments": true}{"name": "d", "arguments": nul}</tool_call>',
        calls=(("a", '[1, {"x": "]"}]'), ("b", "-1.50e3"), ("c", "true"), ("d", "nul")),
    ),
    # The model's own text.
    Case(
        "numbers, key order, duplicate keys, spacing and escapes stay",
        '<tool_call>{"name": "a", "arguments": { "b":1.0,"a" : 1e5, "b":12345678901234567890,'
        '  "c": "\\u00e9\\/\\n\\ud83d\\ude00" }}</tool_call>',
        calls=(
            (
                "a",
                '{ "b":1.0,"a" : 1e5, "b":12345678901234567890,'
                '  "c": "\\u00e9\\/\\n\\ud83d\\ude00" }',
            ),
        ),
    ),
    Case(
        "tags inside strings",
        '<tool_call>{"name": "a", "arguments": {"x": "</tool_call>", "y": "<tool_call>{"}}'
        "</tool_call>",
        calls=(("a", '{"x": "</tool_call>", "y": "<tool_call>{"}'),),
    ),
    Case(
        "quotes, backslashes and brackets inside strings",
        '<tool_call>{"name": "a", "arguments": {"re": "\\\\d+\\\\", "q": "\\"}]\\""}}</tool_call>',
        calls=(("a", '{"re": "\\\\d+\\\\", "q": "\\"}]\\""}'),),
    ),
    Case(
        "angle brackets outside strings",
        '<tool_call>{"name": "a", "arguments": {"x": 1 < 2, "y": <b>}}</tool_call>',
        calls=(("a", '{"x": 1 < 2, "y": <b>}'),),
    ),
    Case(
        "small slips inside arguments",
        "<tool_call>{\"name\": \"a\", \"arguments\": {'x': 1, y: \\n2,}}</tool_call>",
        calls=(("a", "{'x': 1, y: \\n2,}"),),
    ),
    Case(
        "arguments in a string",
        '<tool_call>{"name": "a", "arguments": "{\\"x\\": \\"\\ud83d\\ude00\\\\n\\u00e9\\/'
        '</tool_call>\\"}"}</tool_call>',
        calls=(("a", '{"x": "😀\\né/</tool_call>"}'),),
    ),
    Case(
        "escapes that stand for no character",
        '<tool_call>{"name": "a", "arguments": "\\ud83d \\ude00 \\ud83d\\u0041 \\x \\u12g4"}'
        "</tool_call>",
        calls=(("a", "\\ud83d \\ude00 \\ud83dA \\x \\u12g4"),),
    ),
    Case(
        "a long string",
        '<tool_call>{"name": "a", "arguments": {"x": "' + LONG + '"}}</tool_call>',
        calls=(("a", '{"x": "' + LONG + '"}'),),
    ),
    Case(
        "10,000 open brackets",
        '<tool_call>{"name": "a", "arguments": ' + '[{"x":' * 5_000 + "</tool_call>",
        calls=(("a", '[{"x":' * 5_000 + "}]" * 5_000),),
    ),
    Case(
        "lone surrogates, NUL and friends",
        'a\ud83d\x00<tool_call>{"name": "\ude00", "arguments": {"\x00": "\ud83d"}}</tool_call>\x00',
        "a\ud83d\x00\x00",
        (("\ude00", '{"\x00": "\ud83d"}'),),
    ),
    # Braces and tags, too few and too many.
    Case(
        "no closing tag",
        '<tool_call>{"name": "a", "arguments": {"x": 1}}',
        calls=(("a", '{"x": 1}'),),
    ),
    Case(
        "no closing tag before the next block",
        '<tool_call>{"name": "a", "arguments": {"x": 1}}\n<tool_call>{"name": "b", "arguments": {}}'
        "</tool_call>",
        calls=(("a", '{"x": 1}'), ("b", "{}")),
    ),
    Case(
        "a brace too few",
        '<tool_call>{"name": "a", "arguments": {"x": 1}</tool_call>',
        calls=(("a", '{"x": 1}'),),
    ),
    Case(
        "a brace too few before the next object",
        '<tool_call>{"name": "a", "arguments": {"x": 1}\n'
        '{"name": "b", "arguments": {}}</tool_call>',
        calls=(("a", '{"x": 1}'), ("b", "{}")),
    ),
    Case(
        "a brace too few, without arguments",
        '<tool_call>{"name": "a"</tool_call>',
        calls=(("a", "{}"),),
    ),
    Case(
        "arguments closed too early",
        '<tool_call>{"name": "a", "arguments": {"x": [1, {"y": 2</tool_call> done',
        " done",
        (("a", '{"x": [1, {"y": 2}]}'),),
    ),
    Case(
        "arguments closed too early by the next block",
        '<tool_call>{"name": "a", "arguments": {"x": 1<tool_call>{"name": "b"}</tool_call>',
        calls=(("a", '{"x": 1}'), ("b", "{}")),
    ),
    Case(
        "closers too many",
        '<tool_call>{"name": "a", "arguments": {"x": 1}}}} ]\n</tool_call>!',
        "!",
        (("a", '{"x": 1}'),),
    ),
    Case(
        "a bad object behind a good one",
        '<tool_call>{"name": "a", "arguments": {}}\n{"nam": "b < </tool_call>"} <b> '
        '</tool_call>\nDone. <tool_call>{"name": "c", "arguments": {}}</tool_call>',
        '{"nam": "b < </tool_call>"} <b> \nDone.',
        (("a", "{}"), ("c", "{}")),
    ),
    Case(
        "words behind a call in its block",
        '<tool_call>{"name": "a", "arguments": {}} Let me see. </tool_call>',
        "Let me see. ",
        (("a", "{}"),),
    ),
    Case(
        "an object that breaks behind its arguments",
        '<tool_call>{"name": "a", "arguments": {}, oops}</tool_call>',
        ", oops}",
        (("a", "{}"),),
    ),
    Case(
        "an object that breaks, whitespace, and a block",
        '<tool_call>{"name": "a", "arguments": {}}\n{"nam": 1 \n'
        '<tool_call>{"name": "b", "arguments": {}, "x" \n<tool_call>{"name": "c"}</tool_call>',
        '{"nam": 1, "x"',
        (("a", "{}"), ("b", "{}"), ("c", "{}")),
    ),
    Case(
        "an object that breaks behind its arguments, before a tag in prose",
        '<tool_call>{"name": "a", "arguments": {}, "x" \n<tool_call>"',
        ', "x" \n<tool_call>"',
        (("a", "{}"),),
    ),
    Case(
        "a trailing comma behind the arguments",
        '<tool_call>{"name": "a", "arguments": {},}</tool_call>',
        calls=(("a", "{}"),),
    ),
    # Cut off.
    Case(
        "cut off in the arguments",
        '<tool_call>{"name": "a", "arguments": {"x": [1, "서',
        calls=(("a", '{"x": [1, "서'),),
    ),
    Case(
        "cut off before the arguments",
        'Hm. <tool_call>{"name": "a", "argum',
        'Hm. <tool_call>{"name": "a", "argum',
    ),
    Case(
        "cut off in the second object",
        '<tool_call>{"name": "a", "arguments": {}}\n{"name": "b"',
        '{"name": "b"',
        (("a", "{}"),),
    ),
    Case(
        "cut off in the closing tag",
        '<tool_call>{"name": "a", "arguments": {}}</tool_ca',
        calls=(("a", "{}"),),
    ),
]
