"""What differs between releases of vLLM, and nothing of Mi:dm.

``vllm_imports``: where vLLM keeps things. ``capabilities``: what a release has. ``patching``:
changes to vLLM, made by ``import_hooks`` when a module is imported; the changes themselves are in
``midm_vllm/patches.py``.
"""
