"""vLLM's server: what reads a request's tool choice, constrains the answer, and reads it.

The path of a request: ``server_defaults`` completes the server's arguments. ``requests`` rewrites
the conversation and reads the tool choice. ``constraints`` builds the grammar of the answer.
``tool_parser`` (``tool_parser_pre_0_24`` before vLLM 0.24) reads the answer, with
``required_calls`` for ``required`` and named calls. ``metrics`` and ``output_log`` report what the
model got wrong.

What Mi:dm's markup means is not decided here but in :mod:`midm_vllm.markup`.
"""
