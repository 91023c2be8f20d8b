"""vLLM's server: ``midm-parser`` (``tool_parser``; ``tool_parser_pre_0_24`` for vLLM before 0.24;
``continuation`` for a call that the request began), the grammar of a request's answer
(``constraints``), and what naming the parser implies for the server's other arguments
(``defaults``, ``front_end``).

What Mi:dm's markup means is not decided here but in :mod:`midm_vllm.markup`.
"""
