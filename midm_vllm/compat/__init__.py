"""Below all else: where vLLM keeps things (``vllm_imports``), and running a function once vLLM has
imported one of them (``import_hooks``). Nothing of Mi:dm is known here.
"""
