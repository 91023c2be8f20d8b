"""Let vLLM use Ray without a GPU, in the processes that have this folder on their path.

vLLM asks Ray for one GPU for each worker, and refuses Ray on a CPU. What a worker does does not
depend on it: here the CPU counts as a GPU, and Ray is told that the machine has one.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType

from midm_vllm.compat.import_hooks import when_imported


def count_the_cpu_as_a_gpu(module: ModuleType) -> None:
    module.CpuPlatform.ray_device_key = "GPU"


def start_with_a_gpu(module: ModuleType) -> None:
    module.init = partial(module.init, num_gpus=1, num_cpus=2, _node_ip_address="127.0.0.1")


when_imported("vllm.platforms.cpu", count_the_cpu_as_a_gpu)
when_imported("ray", start_with_a_gpu)
