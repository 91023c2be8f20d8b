"""Any chat template with the packaged one's protection against forged turns.

A prelude in Jinja goes before the template, which stays as it is. Where a conversation may hold a
control token, or halves of one, the prelude binds ``messages`` and whatever else the template
reads from outside to copies without. Any other conversation is not touched: what it takes to see
that is one look at its text.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from typing import Any

from midm_vllm.chat.rendering import PACKAGED_TEMPLATE, compile_template

#: Mi:dm 2.0's, where a checkpoint's are not known.
MIDM_CONTROL_TOKENS = (
    "<|begin_of_text|>", "<|pad|>", "<|end_of_text|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
)
_NO_TEXT = ("add_generation_prompt", "additional_special_tokens", "raise_exception", "strftime_now")
#: What may take a text out of another, and bring together what stood around it.
_CUTTING = frozenset({
    "replace", "split", "rsplit", "strip", "lstrip", "rstrip", "removeprefix", "removesuffix",
    "partition", "rpartition",
})
_QUOTES = "'\""
_TAGS = ("<tool_call>", "</tool_call>")
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
#: Characters of a token that tell what goes on with it, and the longest piece looked for whole.
_PIECE = 6
_GUARD_BEGINS, _GUARD_ENDS = "{#- The guard, from here", "{#- The guard ends. -#}\n"


_PROBE_CALL = {
    "id": "call00001", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}
}
_PROBES: tuple[list[dict[str, Any]], ...] = (
    [{"role": "user", "content": "a"}],
    [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}],
    [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]},
        {"role": "tool", "tool_call_id": "call00001", "name": "f", "content": "b"},
    ],
)
_PROBE_TOOLS = [{"type": "function", "function": {"name": "f", "description": "a", "parameters": {
    "type": "object", "properties": {"a": {"type": "string"}}
}}}]


class CannotBeGuarded(Exception):
    """The template does not render the same with the prelude; the message says why."""


def guarded_template(
    template: str, control_tokens: Sequence[str] | None, *, may_allow: bool = False
) -> str:
    """The template with a prelude that keeps control tokens out of all text from outside.

    Args:
        template: A Jinja chat template; the packaged one guards itself and is given the tokens.
        control_tokens: The special tokens of the tokenizer; None where they are not known, then
            whatever has the form of one.
        may_allow: Whether a request may set ``allow_control_tokens``.

    Raises:
        CannotBeGuarded: The template is not valid, or renders otherwise with the prelude.
    """
    from jinja2 import TemplateError

    tokens = [token for token in control_tokens or () if len(token) > 1]
    switch = {} if may_allow else {"allow_control_tokens": False}
    if is_guarded(template):
        return _set({**switch, "control_tokens": None, **_families(tokens)}) + template
    packaged = PACKAGED_TEMPLATE.read_text("utf-8")
    shared = packaged[packaged.index(_GUARD_BEGINS) : packaged.index(_GUARD_ENDS)]
    walker = PACKAGED_TEMPLATE.with_name("guard.jinja").read_text("utf-8")
    trims = "trim" in template or "strip" in template
    try:
        texts, cuts, variables = _read(template)
        signs, looked_for = _looked_for(tokens or MIDM_CONTROL_TOKENS, texts, cuts, trims)
        looked_for |= {"control_tokens": None, **_families(tokens)}
        prelude = _prelude(
            signs, f"{_set(looked_for)}{shared}{walker}", tokens,
            [name for name in variables if name not in _NO_TEXT], trims,
        )
        guarded = f"{_set(switch)}{prelude}{template}"
        _compare(template, guarded)
    except TemplateError as error:
        raise CannotBeGuarded(str(error)) from error
    except RecursionError as error:
        raise CannotBeGuarded("it is nested too deeply") from error
    return guarded


def is_guarded(template: str) -> bool:
    """Whether the template has the guard, as the packaged one."""
    return _GUARD_BEGINS in template


def _families(tokens: Sequence[str]) -> dict[str, Any]:
    """The tokens by what several begin with, and how all end."""
    families: dict[str, list[str]] = defaultdict(list)
    for token in tokens:
        families[token if token in _TAGS else token[:_PIECE]].append(token)
    return {
        "guard_families": families or None,
        "guard_last": os.path.commonprefix([token[::-1] for token in tokens])[::-1],
    }


def _read(template: str) -> tuple[set[str], set[str], list[str]]:
    """The template's own texts, those that it may cut out, and what it reads from outside."""
    from jinja2 import meta, nodes

    def texts(node: nodes.Node) -> set[str]:
        found = {each.data for each in node.find_all(nodes.TemplateData)}
        return found | {str(each.value) for each in node.find_all(nodes.Const)}

    tree = compile_template("").environment.parse(template)
    cuts: set[str] = set()
    for call in tree.find_all((nodes.Call, nodes.Filter)):
        name = call.name if isinstance(call, nodes.Filter) else getattr(call.node, "attr", "")
        if name in _CUTTING:
            cuts |= {text for argument in call.args for text in texts(argument) if len(text) > 1}
    return texts(tree), cuts, sorted(meta.find_undeclared_variables(tree))


def _looked_for(
    tokens: Sequence[str], texts: set[str], cuts: set[str], trims: bool
) -> tuple[list[str], dict[str, Any]]:
    """What shows that a conversation may hold a token, and what is looked for then.

    Both depend on the template's own texts.
    """
    beginnings = {token[:end] for token in tokens for end in range(1, len(token))}
    endings = {token[start:] for token in tokens for start in range(1, len(token))}
    before = {text for text in beginnings if any(own.endswith(text) for own in texts)}
    after = {text for text in endings if any(own.startswith(text) for own in texts)}
    neighbours = sorted([*product(before, {"", *after}), *product([""], after)])
    wholes = {
        token[len(first) : len(token) - len(last)]
        for token in tokens
        for first, last in neighbours
        if first and token.startswith(first) and token.endswith(last)
        and len(first) + len(last) < len(token)
    }
    words = {whole for whole in wholes if whole.replace("_", "").isalnum()}
    roles = words & {*_ROLES, *texts}
    # What shows in a printed conversation: how tokens begin, texts that end where one begins.
    signs = {token[: 3 if token[1].isalnum() or token[1] == "/" else 2] for token in tokens}
    signs |= {whole[:4] for whole in wholes - words} | cuts | set(_TAGS)
    for end in {token[:size] for token in tokens for size in (1, 2)} - signs:
        signs |= {f"{end}{quote}{mark}" for quote in _QUOTES for mark in ",:]}"}
        if trims:
            signs.add(f"{end}\\")
    signs |= {f"{quote}{word}{quote}" for quote in _QUOTES for word in words - roles}
    firsts = {token[0] for token in tokens}
    return sorted(signs, key=len), {
        "guard_firsts": sorted(firsts),
        # A text without it is left as it is.
        "guard_each": "<" if firsts == {"<"} and not neighbours and not cuts else "",
        "guard_neighbours": [list(pair) for pair in neighbours],
        "guard_words": sorted(words),
        "guard_roles": sorted(roles),
        "guard_cuts": sorted(cuts),
        "guard_longest": max(map(len, tokens)),
        "guard_tokens": list(tokens),
        "guard_beginnings": dict.fromkeys(sorted(beginnings, key=len), 1),
    }


def _set(settings: dict[str, Any]) -> str:
    """Jinja that sets these variables; its literals are JSON's but for null."""
    literals = {
        name: "none" if value is None else json.dumps(value, ensure_ascii=False)
        for name, value in settings.items()
    }
    return "".join(f"{{%- set {name} = {text} -%}}\n" for name, text in literals.items())


def _prelude(
    signs: list[str], guard: str, tokens: list[str], variables: list[str], trims: bool
) -> str:
    """Jinja that binds these variables to guarded copies, where a sign of a token shows."""
    # A token that the template writes comes from the tokenizer, or from a request in its place.
    written = [name for name in variables if name.endswith("_token")]
    read = [name for name in variables if name not in written]
    values = ", ".join(f"({name} if {name} is defined else none)" for name in read)
    trimmed = "guard_shown | replace(' ', '')" if trims else "guard_shown"
    starts = {sign[0] for sign in signs}
    first = f"{json.dumps(starts.pop())} in guard_shown" if len(starts) == 1 else "true"
    shown = json.dumps(signs, ensure_ascii=False)
    known = "\n" + "\n".join(tokens) + "\n"
    foreign = "".join(
        f"""
{{%- if {name} is string and ('\\n' ~ {name} ~ '\\n') not in guard_known -%}}
  {{%- set guard_seen.sign = true -%}}
{{%- endif -%}}"""
        for name in written if tokens
    )
    copies = "".join(
        f"""
  {{%- if {name} is defined -%}}
    {{{{- guard_value({name}, {"guard_of_message" if name == "messages" else "''"}, guard_out) -}}}}
    {{%- set {name} = guard_out.value -%}}
  {{%- endif -%}}"""
        for name in read
    ) + "".join(
        f"""
  {{%- if {name} is string and ('\\n' ~ {name} ~ '\\n') not in guard_known -%}}
    {{%- set {name} = guard_text({name}, '') -%}}
  {{%- endif -%}}"""
        for name in written if tokens
    )
    return f"""{{#- Added by midm-vllm: keeps control tokens out of all text from outside. -#}}
{_set({"guard_known": known})}{{%- set guard_seen = namespace(sign=false) -%}}
{{%- set guard_all = [{values}] -%}}
{{%- set guard_shown = guard_all | string -%}}
{{%- if not allow_control_tokens and {first} -%}}
  {{%- set guard_shown = {trimmed} -%}}
  {{%- for sign in {shown} if not guard_seen.sign and sign in guard_shown -%}}
    {{%- set guard_seen.sign = true -%}}
  {{%- endfor -%}}
{{%- endif -%}}{foreign}
{{%- if guard_seen.sign -%}}
{guard}
  {{%- set guard_starts = guard_edges(guard_all) ~ '\\n' -%}}
  {{%- if guard_chain.ends != '\\n' -%}}
    {{{{- guard_follow(guard_starts) -}}}}
  {{%- endif -%}}
  {{%- set guard_out = namespace(value=none) -%}}{copies}
{{%- endif %}}
"""


def _compare(template: str, guarded: str) -> None:
    """Raise CannotBeGuarded if a conversation without control tokens is rendered otherwise."""
    plain, wrapped = compile_template(template), compile_template(guarded)
    for messages in _PROBES:
        for tools in (None, _PROBE_TOOLS):
            variables: dict[str, Any] = {
                "messages": messages, "tools": tools, "add_generation_prompt": True,
                "bos_token": "", "eos_token": "",
            }
            try:
                prompt = plain.render(variables)
            except Exception:  # It takes no such conversation.
                continue
            try:
                same = wrapped.render(variables) == prompt
            except Exception as error:
                raise CannotBeGuarded(f"{type(error).__name__}: {error}") from error
            if not same:
                raise CannotBeGuarded("a conversation without control tokens changes")
