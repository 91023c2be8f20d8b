"""The chat templates of other vendors' models, from vLLM's source distribution.

They are read from there and kept in ``.cache``; none is copied into this repository.
"""

from __future__ import annotations

import re
from functools import cache

from devtools.source_distribution import unpacked

VERSION = "0.32.0"
SHA256 = "d2c957d5eee3d0985012151315ddc62cbe0cd368fc96a5fc3510438d9dddf2ad"
#: What a template writes itself and looks like a control token.
_TOKEN = re.compile(
    r"<[|\uff5c][^\s<>|\uff5c'\"]+[|\uff5c]>|<\|[a-z_]+>|<[a-z_]+\|>|<(?:start|end)_[a-z_]+>|"
    r"\[/?[A-Z_]+\]"
)


@cache
def vendor_templates() -> dict[str, str]:
    """Their texts by path, without those that are equal."""
    folder = unpacked(
        "vllm", VERSION, SHA256,
        lambda name: name.partition("/")[2] if name.endswith(".jinja") else "",
    )
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*.jinja")):
        text = file.read_text("utf-8")
        if text not in found.values():
            found[str(file.relative_to(folder))] = text
    return found


def written_tokens(template: str) -> list[str]:
    """Control tokens for a template: what it writes in their form, and what every model has."""
    return sorted({*_TOKEN.findall(template), "<s>", "</s>", "<|eot_id|>", "[INST]"})
