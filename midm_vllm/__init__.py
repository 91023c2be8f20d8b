"""A vLLM plugin for Mi:dm (믿:음), KT's open bilingual LLMs.

The subpackages, along the path of a token; each imports only from those before it:

* :mod:`midm_vllm.markup`: the parser of tool calls: text in, events out. No vLLM, no I/O.
* :mod:`midm_vllm.compat`: where each release of vLLM keeps what is used, and import hooks.
* :mod:`midm_vllm.constrained`: grammars that constrain calls to their tools' schemas.
* :mod:`midm_vllm.chat`: the chat templates, and which one a checkpoint is served with.
* :mod:`midm_vllm.serving`: vLLM's tool parser, and the server's defaults.
* :mod:`midm_vllm.models`: models, configurations and tokenizers.

The entry points: ``plugin`` (called by vLLM), ``offline`` (parsing without a
server) and ``cli`` (the command ``midm-vllm``).

These names are public and keep their place; all others may move:

* ``midm_vllm.offline``: ``parse``, ``parse_stream``, ``ParsedOutput``, ``ParsedCall``.
* ``midm_vllm.markup``: ``MarkupReader``, its events, ``OPENING_TAG``, ``CLOSING_TAG``.
* ``midm_vllm.chat``: ``PACKAGED_TEMPLATE``, ``MIDM1_TEMPLATE``, ``render_prompt``,
  ``training_template``.
* ``midm_vllm.plugin``: ``register``, for Python processes without vLLM.

Importing this package imports nothing else; vLLM finds the plugin through the
entry point ``vllm.general_plugins``.
"""
