"""The grammar of an answer with calls, in the Lark of llguidance.

For the form the vendor's prompt teaches:

    <tool_call>{"name": "…", "arguments": {…}}</tool_call>

With ``auto``, prose and calls; with ``required``, one call or more, and nothing else; forced,
one call. Where the answer has a format, an answer that calls nothing is in that format. Where the
request has begun a call, the answer first ends it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from midm_vllm.markup.tags import CLOSING_TAG, END_TOKENS, OPENING_TAG, unfinished_tag

_BEGIN = '{"name": '
#: The grammar of an object of any kind.
ANY_OBJECT = '{"type": "object", "x-guidance": {"whitespace_flexible": false, ' \
             '"item_separator": ", ", "key_separator": ": "}}'


@dataclass(frozen=True)
class CallableTool:
    """A tool that may be called: its name, and its arguments' schema as ``%json`` takes it."""

    name: str
    arguments: str = ANY_OBJECT


def calls_grammar(
    tools: Sequence[CallableTool],
    *,
    must_call: bool,
    one_call: bool = False,
    answer: str | None = None,
    special_tokens: Collection[str] = (),
    begun: str = "",
) -> str:
    """The grammar of what may be written with these tools, for ``structured_outputs.grammar``.

    ``answer`` is the schema of an answer without calls. ``special_tokens`` are the tokenizer's:
    what of the tags and of the tokens that end an output is among them, llguidance reads as
    tokens, not as text, and a tool's name that has one in it is written with escapes. Of itself
    it would let an output end with the tokenizer's ``eos_token`` alone, which need not be the one
    with which the model was taught to end a turn. ``begun`` is a call that the answer goes on with,
    from its opening tag; where `ends_before_arguments` says no, its rest may be anything, and of
    one that lacks its closing tag alone, the tag.
    """
    ends = [end for end in END_TOKENS if end in special_tokens]
    rules = [
        f"start: whole ({' | '.join(ends)})?" if ends else "start: whole",
        _whole(must_call, one_call, answer, bool(begun)),
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
        if begun and _is_begun(head, begun):
            rests.append(f"{_text(head[len(_written(begun)):])} {rule}")
    end = f"{_text('}')} {_tag(CLOSING_TAG, special_tokens)}"
    rules.append(f"body: {_text(_BEGIN)} named {end}")
    rules.append("named: " + "\n  | ".join(names))
    if rests:
        rules.append(f"rest: ({' | '.join(rests)}) {end}")
    elif begun:
        cut = unfinished_tag(begun, 0, CLOSING_TAG)
        if not _is_whole(begun[:cut]):
            rules += _anything_and_the_tag(CLOSING_TAG in special_tokens)
        elif cut < len(begun):
            rules.append(f"rest: {_text(CLOSING_TAG[len(begun) - cut:])}")
        else:
            rules.append(f"rest: {_tag(CLOSING_TAG, special_tokens)}")
    rules += [f"{rule}: %json {schema}" for schema, rule in schemas.items()]
    return "\n".join(rules) + "\n"


def ends_before_arguments(
    tool: CallableTool, begun: str, special_tokens: Collection[str] = ()
) -> bool:
    """Whether ``begun`` may be a call of this tool of which the arguments are still to come."""
    return _is_begun(_head(tool, special_tokens), begun)


def ends_in_arguments(
    tool: CallableTool, begun: str, special_tokens: Collection[str] = ()
) -> bool:
    """Whether ``begun`` is a call of this tool, as the grammar has it up to its arguments."""
    return _written(begun).startswith(_head(tool, special_tokens))


def _head(tool: CallableTool, special_tokens: Collection[str]) -> str:
    return f'{_BEGIN}{_name(tool.name, special_tokens)}, "arguments": '


def _written(begun: str) -> str:
    """What of a call's object has been written."""
    return begun.removeprefix(OPENING_TAG).lstrip()


def _is_begun(head: str, begun: str) -> bool:
    return head.startswith(_written(begun))


def _is_whole(begun: str) -> bool:
    """Whether all of a call but its closing tag has been written."""
    try:
        json.loads(_written(begun))
    except (ValueError, RecursionError):
        return False
    return True


def _anything_and_the_tag(is_special: bool) -> list[str]:
    escaped = CLOSING_TAG.replace("/", "\\/")
    rules = [f"to_tag[lazy]: /(?s:.*){escaped}/"]
    rests = ["to_tag"]
    if is_special:
        rules.append("ANYTHING: /(?s:.*)/")
        rests.append(f"ANYTHING {CLOSING_TAG}")
    return [*rules, f"rest: {' | '.join(rests)}"]


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
    tag = OPENING_TAG
    rules = [
        # What is no beginning of a call, to the end.
        f"REST: /(?s:.*)/ & ~/(?s:.*){tag}(?s:.*)/",
        f"prose[lazy]: /(?s:.*){tag}/",
    ]
    rules.append(
        f"prose_and_call: prose body | REST {tag} body" if is_special
        else "prose_and_call: prose body"
    )
    return rules


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
