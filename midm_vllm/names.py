"""The names under which vLLM knows what this package adds. A leaf: it imports nothing."""

#: What ``--tool-call-parser`` takes.
TOOL_PARSER_NAME = "midm-parser"
#: The model of vLLM's registry of structural tags.
STRUCTURAL_TAG_MODEL = "midm"
