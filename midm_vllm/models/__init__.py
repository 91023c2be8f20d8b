"""Mi:dm's networks, configurations and tokenizer, without remote code.

:mod:`~midm_vllm.models.registration` names them to vLLM and Transformers;
:mod:`~midm_vllm.models.midm1.model` is Mi:dm 1.0 on vLLM's layers.
"""
