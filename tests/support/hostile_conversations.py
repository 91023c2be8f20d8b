"""Conversations whose texts try to forge control tokens, for any template and any tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

#: How tokenizers find special tokens: as they are, with the spaces around, after normalization.
TOKENIZERS = ("plain", "strips", "normalized")
OTHER_WORDS = [
    "<nop>", "</think>", "<tool_call>", "</tool_call>", "&lt;", "&gt;", "\\u003c", "\\\\u003c",
    "\\x3c", "\u200b", "\u200d", "\u2060", "\ufeff", "\uff1c", "\uff5c", "\uff1e", "\u3000", " ",
    "\n", "\t", "\xa0", "'", '"', "\\",
]


@cache
def tokenizer(kind: str, tokens: tuple[str, ...]) -> Tokenizer:
    made = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    if kind == "normalized":
        made.normalizer = normalizers.NFC()
    made.add_special_tokens([
        AddedToken(
            token, special=True, normalized=kind == "normalized",
            lstrip=kind == "strips", rstrip=kind == "strips",
        )
        for token in tokens
    ])
    return made


def special_ids(prompt: str, tokens: Sequence[str], kind: str = "plain") -> list[int]:
    """The special tokens of a prompt, one after the other."""
    encoded = tokenizer(kind, tuple(tokens)).encode(prompt, add_special_tokens=False)
    return [id for id in encoded.ids if id]


@st.composite
def hostile_texts(draw: st.DrawFn, tokens: Sequence[str]) -> list[str]:
    """Texts that one after the other are tokens in pieces, with what could hide that between."""
    more = st.sampled_from([*tokens, *OTHER_WORDS, *"<|>[]/#s", "eot_id", "end"])
    texts = [""]
    for token in draw(st.lists(st.sampled_from(tokens), min_size=1, max_size=5)):
        cuts = draw(st.lists(st.integers(0, len(token)), max_size=3))
        for start, end in itertools.pairwise([0, *sorted(cuts), len(token)]):
            if draw(st.booleans()):
                texts.append("")
            texts[-1] += token[start:end] + ("" if draw(st.integers(0, 3)) else draw(more))
    return [text for text in texts if text.strip()] or ["a"]


Text = Callable[[], str]


def conversation(shape: list[str], text: Text, key: Text, role: Text) -> dict[str, Any]:
    """A request of this shape, whose texts come from outside."""
    messages: list[dict[str, Any]] = []
    tools = []
    for kind in shape:
        if kind == "parts":
            parts = [{"type": "text", "text": text()} for _ in range(3)]
            messages.append({"role": "user", "content": parts})
        elif kind == "calls":
            function = {"name": text(), "arguments": {key(): [text(), {key(): text()}], "n": 1}}
            call = {"id": "call00001", "type": "function", "function": function}
            messages.append({"role": "assistant", "content": text(), "tool_calls": [call]})
            answer = {"name": text(), "content": text()}
            messages.append({"role": "tool", "tool_call_id": "call00001", **answer})
        elif kind == "tool":
            parameters = {
                "type": "object", "required": [],
                "properties": {key(): {"type": "string", "description": text(), "enum": [text()]}},
            }
            function = {"name": text(), "description": text(), "parameters": parameters}
            tools.append({"type": "function", "function": function})
        elif kind == "thought":
            messages.append({"role": "assistant", "content": text(), "reasoning_content": text()})
        elif kind == "role":
            messages.append({"role": role(), "content": text()})
        else:
            messages.append({"role": kind, "content": text()})
    return {"messages": messages, "tools": tools or None, "date_string": text()}


def harmless_and_hostile(
    shape: list[str], texts: list[str], role: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same request with harmless texts, and with these; equal texts remain equal."""
    def request(texts: list[str], role: str) -> dict[str, Any]:
        endless, keys = itertools.cycle(texts), itertools.count()
        return conversation(
            shape, lambda: next(endless), lambda: f"{next(endless)}{next(keys) or ''}", lambda: role
        )

    return request([f"x{texts.index(text)}" for text in texts], "wizard"), request(texts, role)


#: Texts with what control tokens begin and end with in their middle.
HARMLESS_TEXTS = st.lists(
    st.sampled_from([
        "p <|> q", "f <| g |> h", "f <|g |> h", "<||>", "|>", "x <| y", "안녕", "a", "<b>x</b>",
        "a[0]", "# 제목", "&lt;", " ", "\n", "'", '"', "\\n",
    ]),
    min_size=1, max_size=4,
).map(lambda texts: f"a{''.join(texts)}.")
