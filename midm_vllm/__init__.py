"""Mi:dm (믿:음), KT's open bilingual LLMs, as first-class citizens of vLLM.

The rooms, along the path of a token, each importing from those before it alone:

* :mod:`midm_vllm.markup`: the model's text in, events out. Pure: no vLLM, no I/O.
* :mod:`midm_vllm.compat`: where vLLM keeps things in which release, and the
  hooks that wait until vLLM imports them.
* :mod:`midm_vllm.constrained`: which calls the model can write at all.
* :mod:`midm_vllm.chat`: the chat templates, and which one serves a checkpoint.
* :mod:`midm_vllm.serving`: vLLM's tool parser, and the server's defaults.
* :mod:`midm_vllm.models`: the networks, configurations and tokenizers.

At the door: ``plugin`` (what vLLM calls), ``offline`` (reading without a
server), ``cli`` and ``doctor`` (the command ``midm-vllm``).

What is public, and stays where it is; all else may move:

* ``midm_vllm.offline``: ``parse``, ``parse_stream``, ``ParsedOutput``, ``ParsedCall``.
* ``midm_vllm.markup``: ``MarkupReader``, its events, ``OPENING_TAG``, ``CLOSING_TAG``.
* ``midm_vllm.chat``: ``PACKAGED_TEMPLATE``, ``MIDM1_TEMPLATE``, ``render_prompt``,
  ``training_template``.
* ``midm_vllm.plugin``: ``register``, for Python processes without vLLM.

Importing this package imports nothing else; vLLM finds what it needs through
the entry point ``vllm.general_plugins``.
"""
