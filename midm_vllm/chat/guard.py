"""Any chat template with the packaged one's protection against forged turns.

A prelude in Jinja goes before the template, which stays as it is. It looks for signs of a control
token in the printed conversation. Only where it finds one, it binds ``messages`` and whatever else
the template reads from outside to copies without. It needs no change of vLLM, and works in other
engines.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from midm_vllm.chat.rendering import PACKAGED_TEMPLATE, compile_template

#: Mi:dm 2.0's, where a checkpoint's are not known.
MIDM_CONTROL_TOKENS = (
    "<|begin_of_text|>", "<|pad|>", "<|end_of_text|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
)
_NO_TEXT = ("add_generation_prompt", "additional_special_tokens", "raise_exception", "strftime_now")
#: What may take a text out of another, and bring together what stood around it.
_CUTTING = frozenset({"replace", "split", "rsplit", "partition", "rpartition"})
_QUOTES = "'\""
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
#: More numbered tokens of one form than this are known by what they begin with.
_NUMBERED = 4
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

    known = [token for token in control_tokens or () if len(token) > 1]
    tokens = _without_numbers(known)
    settings: dict[str, Any] = {} if may_allow else {"allow_control_tokens": False}
    settings["control_tokens"] = tokens or None
    settings["guard_last"] = ">" if known and all(token[-1] == ">" for token in known) else ""
    if is_guarded(template):
        return _set(settings) + template
    try:
        guarded = _set(settings) + _prelude(template, tokens, known) + template
        _compare(template, guarded)
    except TemplateError as error:
        raise CannotBeGuarded(str(error)) from error
    except RecursionError as error:
        raise CannotBeGuarded("it is nested too deeply") from error
    return guarded


def is_guarded(template: str) -> bool:
    """Whether the template has the guard, as the packaged one."""
    return _GUARD_BEGINS in template


def _without_numbers(tokens: list[str]) -> list[str]:
    """The tokens; of many that differ in their number, what they begin with."""
    forms: dict[str, list[str]] = defaultdict(list)
    for token in tokens:
        beginning = re.split(r"\d", token)[0]
        forms[beginning if len(beginning) > 4 else token].append(token)
    return [
        token
        for form, members in forms.items()
        for token in ([form] if len(members) > _NUMBERED else members)
    ]


def _read(template: str) -> tuple[set[str], set[str], list[str]]:
    """The template's own texts, those that it may cut out, and what it reads from outside."""
    from jinja2 import meta, nodes

    tree = compile_template("").environment.parse(template)
    texts = {each.data for each in tree.find_all(nodes.TemplateData)}
    texts |= {str(each.value) for each in tree.find_all(nodes.Const)}
    cuts: set[str] = set()
    for call in tree.find_all((nodes.Call, nodes.Filter)):
        name = call.name if isinstance(call, nodes.Filter) else getattr(call.node, "attr", "")
        if name in _CUTTING:
            given = [str(each.value) for each in call.args if isinstance(each, nodes.Const)]
            # Of single characters only one that is taken out: lines and words may be split.
            if given and (len(given[0]) > 1 or given[1:] == [""]):
                cuts.add(given[0])
    cuts -= {"", " "}
    return texts, cuts, sorted(meta.find_undeclared_variables(tree))


def _prelude(template: str, tokens: list[str], known: list[str]) -> str:
    """Jinja that binds what the template reads to guarded copies, where a sign of a token shows.

    What is a sign, and what is looked for then, depends on the template's own texts: a token may
    begin or end in them.
    """
    texts, cuts, variables = _read(template)
    trims = "trim" in template or "strip" in template
    tokens = tokens or list(MIDM_CONTROL_TOKENS)
    beginnings = {token[:end] for token in tokens for end in range(1, len(token))}
    endings = {token[start:] for token in tokens for start in range(1, len(token))}
    before = {each for each in beginnings if any(own.endswith(each) for own in texts)}
    after = {each for each in endings if any(own.startswith(each) for own in texts)}
    rests = {token[len(own) :] for token in tokens for own in before if token.startswith(own)}
    rests.discard("")
    wholes = {rest[: -len(own)] for rest in rests for own in after if rest.endswith(own)} - {""}
    # A plain word is no attack, but for a role that no conversation has.
    words = {whole for whole in wholes if whole.replace("_", "").isalnum()}
    wholes, roles = wholes - words, words - {*_ROLES, *texts}
    cut_off = {token[: -len(own)] for token in tokens for own in after if token.endswith(own)}
    # The template may write a separator between two texts that is a piece of a token.
    inner = "\n".join(token[1:-1] for token in tokens)
    pieces = {own for own in texts if own in inner and not re.search(r"\w", own)} - {"", "\n"}
    # Without these characters no text completes a token.
    needed = set.intersection(*map(set, {*(known or tokens), *rests, *wholes, *cut_off - {""}}))
    needed -= set("".join(pieces))

    # A printed text shows a token by how it begins, or by ending as one begins.
    signs = {token[: 3 if token[1].isalnum() or token[1] == "/" else 2] for token in tokens}
    ends = {token[:size] for token in tokens for size in (1, 2)} - signs
    signs |= {f"{end}{mark}" for end in ends for mark in (*_QUOTES, *(["\\"] if trims else []))}
    signs |= wholes | {rest[:4] for rest in rests} | {repr(cut)[1:-1] for cut in cuts}
    first = "<" if all(token[0] == "<" for token in tokens) else ""
    guard = _set({
        # A text without it is left as it is.
        "guard_each": "" if rests or any(first not in cut for cut in cuts) else first,
        "guard_first": first,
        "guard_rests": sorted(rests),
        "guard_wholes": sorted(wholes),
        "guard_roles": sorted(roles),
        "guard_cuts": sorted(cuts),
        # Not "developer": vLLM looks for this text to see whether a template takes the role.
        "guard_usual_roles": [role for role in _ROLES if role != "developer"],
        "guard_longest": max(map(len, tokens)),
        "guard_tokens": tokens,
        "guard_beginnings": dict.fromkeys(sorted(beginnings, key=len), 1),
        "guard_pieces": "".join(f"\n{each}" for each in sorted(pieces)) + "\n",
        "guard_after": "".join(f"\n{each}" for each in sorted(after)) + "\n",
    })
    packaged = PACKAGED_TEMPLATE.read_text("utf-8")
    guard += packaged[packaged.index(_GUARD_BEGINS) : packaged.index(_GUARD_ENDS)]
    guard += PACKAGED_TEMPLATE.with_name("guard.jinja").read_text("utf-8")

    read = [name for name in variables if name not in _NO_TEXT and not name.endswith("_token")]
    values = ", ".join(f"({name} if {name} is defined else none)" for name in read)
    # A token that the template writes comes from the tokenizer, or from a request in its place.
    written = [name for name in variables if known and name.endswith("_token")]
    is_foreign = "{name} is string and {name} not in guard_known"
    suspicious = ["'tool_call>' in guard_shown"]
    suspicious += [f"({is_foreign.format(name=name)})" for name in written]
    if roles:
        suspicious.append("(messages | selectattr('role', 'in', guard_roles) | list)")
    copies = "".join(
        f"""
  {{%- if {name} is defined -%}}
    {{{{- guard_value({name}, {"guard_of_message" if name == "messages" else "''"}, guard_out) -}}}}
    {{%- set {name} = guard_out.value -%}}
  {{%- endif -%}}"""
        for name in read
    ) + "".join(
        f"""
  {{%- if {is_foreign.format(name=name)} -%}}
    {{%- set {name} = guard_text({name}, '') -%}}
  {{%- endif -%}}"""
        for name in written
    )

    def contains(texts: Iterable[str], operator: str) -> str:
        return f" {operator} ".join(f"{json.dumps(text)} in guard_shown" for text in sorted(texts))

    spaced = contains({f"{end} " for end in ends}, "or") if trims else "false"
    return f"""{{#- Added by midm-vllm: keeps control tokens out of all text from outside. -#}}
{_set({"guard_known": known, "guard_roles": sorted(roles), "guard_signs": sorted(signs, key=len)})}
{{%- set guard_all = [{values}] -%}}
{{%- set guard_shown = guard_all | string -%}}
{{%- set guard_seen = namespace(sign={" or ".join(suspicious)}) -%}}
{{%- if not allow_control_tokens and {contains(needed, "and") or "true"} -%}}
  {{%- if {spaced} -%}}
    {{%- set guard_shown = guard_shown | replace(' ', '') -%}}
  {{%- endif -%}}
  {{%- for sign in guard_signs if not guard_seen.sign and sign in guard_shown -%}}
    {{%- set guard_seen.sign = true -%}}
  {{%- endfor -%}}
{{%- endif -%}}
{{%- if guard_seen.sign -%}}
{guard}
  {{%- set guard_ends = guard_edges(guard_all, guard_first) -%}}
  {{%- if guard_joins.ends != '\\n' -%}}
    {{{{- guard_follow(guard_edges(guard_all, '') ~ '\\n') -}}}}
  {{%- endif -%}}
  {{%- set guard_out = namespace(value=none) -%}}{copies}
{{%- endif %}}
"""


def _set(settings: dict[str, Any]) -> str:
    """Jinja that sets these variables; its literals are JSON's but for null."""
    literals = {
        name: "none" if value is None else json.dumps(value, ensure_ascii=False)
        for name, value in settings.items()
    }
    return "".join(f"{{%- set {name} = {text} -%}}\n" for name, text in literals.items())


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
