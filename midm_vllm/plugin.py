"""The entry point ``vllm.general_plugins``: what vLLM calls in every process.

:func:`register` runs in the API server, in each engine core and in each
worker. It imports no parser, no model and no torch: each
part registers when vLLM itself imports the registry it belongs to.
"""

from __future__ import annotations

from midm_vllm.compat import import_hooks, patching
from midm_vllm.patches import PATCHES

_registered = False


def register() -> None:
    """Register everything this package adds to vLLM; a second call only makes sure of it."""
    global _registered
    if _registered:
        import_hooks.install()
        return
    _registered = True
    patching.install(PATCHES)
