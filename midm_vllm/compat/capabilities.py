"""What a release of vLLM has, where this package goes another way without it.

Asked by name, so that the releases stand here and nowhere else.
"""

from __future__ import annotations

from functools import cache

from midm_vllm.compat import vllm_imports

#: Name -> the releases that have it, and where it is seen: a name of ``vllm_imports`` and what is
#: an attribute of it, or a field of a pydantic model.
CAPABILITIES: dict[str, tuple[str, str]] = {
    # A tool parser may constrain an answer, and gets a call when its stream has ended.
    "parser grammars": ("from 0.24", "ToolParser.engine_based_streaming"),
    # A tool parser is registered by the name of its module.
    "lazy parsers": ("from 0.11.2", "ToolParserManager.register_lazy_module"),
    # A delta of which nothing is sent still carries the finish reason.
    "finish reason alone": ("from 0.10.2", "ChatCompletionRequest.return_token_ids"),
}


@cache
def has(capability: str) -> bool:
    """Whether the installed vLLM has a capability of the table."""
    owner, _, member = CAPABILITIES[capability][1].partition(".")
    found = getattr(vllm_imports, owner)
    return hasattr(found, member) or member in getattr(found, "model_fields", ())
