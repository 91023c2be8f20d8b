"""What a child process of `test_import_hooks` runs; a spawned one imports it by name."""

from __future__ import annotations

import importlib
import sys

from midm_vllm.compat.import_hooks import when_imported


def import_it(name: str, folder: str) -> None:
    sys.path.insert(0, folder)
    when_imported(name, lambda module: print("told in the child's hooks", flush=True))
    importlib.import_module(name)
