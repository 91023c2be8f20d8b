"""Mi:dm 1.0: configuration, model on vLLM's layers, and tokenizer."""
