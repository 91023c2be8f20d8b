"""The Transformers program of docs/guides/other-engines.md, with the small checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devtools.checkpoint import REPOSITORY
from documents import blocks


def test_transformers_calls_and_answers(checkpoint: Path) -> None:
    [program] = [
        block.text
        for block in blocks(REPOSITORY / "docs" / "guides" / "other-engines.md", "python")
        if "AutoModelForCausalLM" in block.text
    ]
    for theirs, here in [
        ("K-intelligence/Midm-2.0-Mini-Instruct", str(checkpoint)),
        (', device_map="auto"', ""),
    ]:
        assert theirs in program
        program = program.replace(theirs, here)
    done: dict[str, Any] = {}
    exec(program, done)
    assert done["output"].content in program
    roles = [message["role"] for message in done["messages"]]
    assert roles == ["user", "assistant", "tool"]
    [call] = done["messages"][1]["tool_calls"]
    assert call["function"]["name"] == "convert_area"
