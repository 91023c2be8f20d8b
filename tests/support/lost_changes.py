"""Answers requests where vLLM has renamed what the plugin changes: the targets that are named.

Prints, as JSON, what a server with hermes answers, what one with midm-parser answers, what it says
to a strict tool, and what vLLM's log has.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from typing import Any

from log_lines import log_lines

from midm_vllm import patches

CALL = '<tool_call>{"name": "a", "arguments": {"x": 1}}</tool_call>'


def main() -> None:
    lost = sys.argv[1:]
    assert set(lost) <= {patch.target for patch in patches.PATCHES}
    from midm_vllm import plugin

    plugin.PATCHES = tuple(
        replace(patch, target=f"{patch.target}_renamed") if patch.target in lost else patch
        for patch in patches.PATCHES
    )
    with log_lines(logging.getLogger("vllm.midm_vllm.patches")) as lines:
        from release_serving import Serving

        def calls(parser: str, **options: Any) -> Any:
            try:
                serving = Serving(parser)
                request = serving.request(**options)
                serving.prepare(request)
                return serving.complete_to(request, CALL).calls
            except Exception as error:
                return f"{type(error).__name__}: {error}"

        strict = {"name": "a", "strict": True, "parameters": {
            "type": "object", "properties": {"x": {"type": "integer"}},
            "required": ["x"], "additionalProperties": False}}
        answers = {
            "hermes": calls("hermes"),
            "midm-parser": calls("midm-parser"),
            "required": calls("midm-parser", tool_choice="required"),
            "strict": calls("midm-parser", tools=[{"type": "function", "function": strict}]),
        }
    print(json.dumps({**answers, "log": lines}))


if __name__ == "__main__":
    main()
