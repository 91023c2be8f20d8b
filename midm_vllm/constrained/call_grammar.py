"""The grammar of an answer with calls, in the Lark of llguidance.

For the form the vendor's prompt teaches:

    <tool_call>{"name": "…", "arguments": {…}}</tool_call>

With ``auto``, prose and calls; with ``required``, one call or more, and nothing else; forced,
one call. Where the answer has a format, an answer that calls nothing is in that format. Where the
request has partial_call a call, the answer first ends it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from midm_vllm.constrained.json_grammar import ANY_OBJECT_GRAMMAR
from midm_vllm.markup.tags import (
    CLOSING_PREFIXES,
    CLOSING_TAG,
    END_TOKENS,
    OPENING_TAG,
    unfinished_tag,
)

_BEGIN = '{"name": '


@dataclass(frozen=True)
class CallableTool:
    """A tool that may be called: its name, and its arguments' schema as ``%json`` takes it."""

    name: str
    arguments: str = ANY_OBJECT_GRAMMAR


def build_call_grammar(
    tools: Sequence[CallableTool],
    *,
    must_call: bool,
    one_call: bool = False,
    answer: str | None = None,
    special_tokens: Collection[str] = (),
    partial_call: str = "",
) -> str:
    """Build the grammar of an answer, for vLLM's ``structured_outputs.grammar``.

    Args:
        tools: The tools that may be called.
        must_call: Whether the answer is calls and nothing else.
        one_call: Whether it has one call at most.
        answer: The JSON grammar of an answer without calls, where it has a format.
        special_tokens: The tokenizer's. Tags and end tokens among them are tokens of the
            grammar as well as text, and a tool's name that contains one is written with escapes.
            End tokens are listed because llguidance would accept the ``eos_token`` alone, and
            Mi:dm ends its turns with another.
        partial_call: A call that the request's last message has begun, from its opening tag. Its
            rest is unconstrained where its arguments have begun, and the closing tag where it
            lacks nothing else.

    Returns:
        A Lark grammar of llguidance.
    """
    ends = [end for end in END_TOKENS if end in special_tokens]
    rules = [
        f"start: whole ({' | '.join(ends)})?" if ends else "start: whole",
        _whole(must_call, one_call, answer, bool(partial_call)),
    ]
    if not must_call and answer is None:
        rules += _prose(OPENING_TAG in special_tokens)
    if answer is not None:
        rules.append(f"answer: %json {answer}")
    rules.append(f"call: {_tag(OPENING_TAG, special_tokens)} body")
    names, rests = [], []
    schemas: dict[str, str] = {}
    for tool in tools:
        rule = schemas.setdefault(tool.arguments, f"arguments{len(schemas)}")
        head = _head(tool, special_tokens)
        names.append(f"{_text(head.removeprefix(_BEGIN))} {rule}")
        if partial_call and _is_begun(head, partial_call):
            rests.append(f"{_text(head[len(_written(partial_call)):])} {rule}")
    end = f"{_text('}')} {_tag(CLOSING_TAG, special_tokens)}"
    rules.append(f"body: {_text(_BEGIN)} named {end}")
    rules.append("named: " + "\n  | ".join(names))
    if rests:
        rules.append(f"rest: ({' | '.join(rests)}) {end}")
    elif partial_call:
        cut = unfinished_tag(partial_call, 0, CLOSING_PREFIXES)
        if not _is_whole(partial_call[:cut]):
            rules += _anything_and_the_tag(CLOSING_TAG in special_tokens)
        elif cut < len(partial_call):
            rules.append(f"rest: {_text(CLOSING_TAG[len(partial_call) - cut:])}")
        else:
            rules.append(f"rest: {_tag(CLOSING_TAG, special_tokens)}")
    rules += [f"{rule}: %json {schema}" for schema, rule in schemas.items()]
    return "\n".join(rules) + "\n"


def ends_before_arguments(
    tool: CallableTool, partial_call: str, special_tokens: Collection[str] = ()
) -> bool:
    """Whether ``partial_call`` may be a call of this tool that has not begun its arguments."""
    return _is_begun(_head(tool, special_tokens), partial_call)


def ends_in_arguments(
    tool: CallableTool, partial_call: str, special_tokens: Collection[str] = ()
) -> bool:
    """Whether ``partial_call`` is a call of this tool that has begun its arguments."""
    return _written(partial_call).startswith(_head(tool, special_tokens))


def _head(tool: CallableTool, special_tokens: Collection[str]) -> str:
    return f'{_BEGIN}{_name(tool.name, special_tokens)}, "arguments": '


def _written(partial_call: str) -> str:
    """What of a call's object has been written."""
    return partial_call.removeprefix(OPENING_TAG).lstrip()


def _is_begun(head: str, partial_call: str) -> bool:
    return head.startswith(_written(partial_call))


def _is_whole(partial_call: str) -> bool:
    """Whether all of a call but its closing tag has been written."""
    try:
        json.loads(_written(partial_call))
    except (ValueError, RecursionError):
        return False
    return True


def _anything_and_the_tag(is_special: bool) -> list[str]:
    escaped = CLOSING_TAG.replace("/", "\\/")
    rules = [f"to_tag[lazy]: /(?s:.*){escaped}/"]
    if is_special:
        return [*rules, "ANYTHING: /(?s:.*)/", f"rest: to_tag | ANYTHING {CLOSING_TAG}"]
    return [*rules, "rest: to_tag"]


def _whole(must_call: bool, one_call: bool, answer: str | None, is_begun: bool) -> str:
    if is_begun:
        if must_call or answer is not None:
            return "whole: rest" if one_call else "whole: rest call*"
        return "whole: rest REST" if one_call else "whole: rest prose_and_call* REST"
    calls = "call" if one_call else "call+"
    if must_call:
        return f"whole: {calls}"
    if answer is not None:
        return f"whole: {calls} | answer"
    return "whole: REST | prose_and_call" if one_call else "whole: prose_and_call* REST"


def _prose(is_special: bool) -> list[str]:
    special = f" | REST {OPENING_TAG} body" if is_special else ""
    return [
        # What is no beginning of a call, to the end.
        f"REST: /(?s:.*)/ & ~/(?s:.*){OPENING_TAG}(?s:.*)/",
        f"prose[lazy]: /(?s:.*){OPENING_TAG}/",
        f"prose_and_call: prose body{special}",
    ]


def _name(name: str, special_tokens: Collection[str]) -> str:
    """A name as JSON text without special tokens, which the model could not write as text."""
    if any(token in name for token in special_tokens):
        units = name.encode("utf-16-be").hex()
        return '"' + "".join(f"\\u{units[at:at + 4]}" for at in range(0, len(units), 4)) + '"'
    return json.dumps(name, ensure_ascii=False)


def _tag(tag: str, special_tokens: Collection[str]) -> str:
    return f"({_text(tag)} | {tag})" if tag in special_tokens else _text(tag)


def _text(text: str) -> str:
    """A text as a string of the grammar."""
    return json.dumps(text, ensure_ascii=False)
