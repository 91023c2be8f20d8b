"""``python -m midm_vllm``: the same as ``midm-vllm``."""

from midm_vllm.cli.app import app

app(prog_name="midm-vllm")
