"""vLLM's server: what reads a request's tool choice, constrains the answer, and reads it.

The path of a request: ``server_defaults`` completes the server's arguments, ``grammar_backend``
chooses what constrains answers. ``tool_choice`` reads what a request may call, ``request_grammar``
builds the grammar of its answer, in a thread of ``grammar_prefetch`` where vLLM allows that.
``tool_parser`` (``tool_parser_pre_0_24`` for vLLM before 0.24) reads the answer, with
``continuation`` for a call that the request begins and ``demanded_calls`` for ``required`` and
named ones. ``metrics`` and ``output_log`` report what the model got wrong.

What Mi:dm's markup means is not decided here but in :mod:`midm_vllm.markup`.
"""
