"""Serve Mi:dm with Ray Serve LLM: OpenAI's API on port 8000, until Ctrl-C.

    pip install "ray[serve,llm]" midm-vllm
    python examples/ray_serve_llm.py K-intelligence/Midm-2.0-Base-Instruct

Install `midm-vllm` on every node. `engine_kwargs` are the options of `vllm serve`.
"""

from __future__ import annotations

import argparse
import json

from ray import serve
from ray.serve.llm import LLMConfig, build_openai_app

parser = argparse.ArgumentParser(description="Serve Mi:dm with Ray Serve LLM.")
parser.add_argument("checkpoint", help="a name on the hub, or a folder")
parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
parser.add_argument("--cpu", action="store_true", help="run without a GPU")
parser.add_argument(
    "--engine", type=json.loads, default={}, metavar="JSON", help="more options of vLLM"
)
options = parser.parse_args()

model = LLMConfig(
    model_loading_config={"model_id": "midm", "model_source": options.checkpoint},
    accelerator_config={"kind": "cpu" if options.cpu else "gpu"},
    engine_kwargs={"tool_call_parser": "midm-parser", **options.engine},
)
serve.start(http_options={"port": options.port})
serve.run(build_openai_app({"llm_configs": [model]}), blocking=True)
