"""The names that this package, vLLM and its processes share. A leaf: it imports nothing."""

#: What ``--tool-call-parser`` takes.
TOOL_PARSER_NAME = "midm-parser"
#: Where the documentation is, for texts that reach users who have the package alone.
DOCUMENTATION_URL = "https://github.com/midm-vllm/midm-vllm/tree/main/docs"
#: The model that a parser with grammars names to vLLM.
STRUCTURAL_TAG_MODEL = "midm"
#: The backend of vLLM's structured outputs that takes this package's grammars.
GRAMMAR_BACKEND = "guidance"


def omitted(kind: str) -> str:
    """The note in place of a part that the model cannot read; the chat template writes it, too.

    Args:
        kind: What the part is: image, audio, video or document.
    """
    return f"[{kind} omitted: the model reads text only]"
