"""Mi:dm (믿:음), KT's open bilingual LLMs, as first-class citizens of vLLM.

The path of a token: :mod:`midm_vllm.markup` reads the model's text,
:mod:`midm_vllm.tool_parser` turns what it read into vLLM's deltas, and
:mod:`midm_vllm.plugin` registers that with vLLM.

Importing this package imports nothing else; vLLM finds what it needs through
the entry point ``vllm.general_plugins``.
"""
