"""vLLM's server: ``midm-parser`` (``tool_parser``; ``older_tool_parser`` for vLLM before 0.24)
and what naming it implies for the server's other arguments (``defaults``).

What Mi:dm's markup means is not decided here but in :mod:`midm_vllm.markup`.
"""
