"""The command ``midm-vllm``: the application, ``doctor`` and the check of a file of tools."""
