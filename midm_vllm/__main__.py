"""``python -m midm_vllm``: the same as ``midm-vllm``."""

from midm_vllm.cli import app

app(prog_name="midm-vllm")
