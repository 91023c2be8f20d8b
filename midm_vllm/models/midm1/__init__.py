"""Mi:dm 1.0: configuration, network on vLLM's layers, and tokenizer, without remote code."""
