"""Mi:dm's models, configurations and tokenizer, without remote code.

:mod:`~midm_vllm.models.registration` registers them with vLLM and Transformers.
"""
