"""What loading the plugin adds to the start of a vLLM process.

Each measurement is a fresh process in which vLLM's plugin loader is imported, and then loads and
runs the plugin's entry point as vLLM does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

PROCESS = """\
import json, sys, time
from importlib.metadata import entry_points

import vllm.plugins

[plugin] = entry_points(group=vllm.plugins.DEFAULT_PLUGINS_GROUP, name="midm")
modules = set(sys.modules)
start = time.process_time()
plugin.load()()
milliseconds = (time.process_time() - start) * 1000
print(json.dumps([milliseconds, sorted(set(sys.modules) - modules)]))
"""


def load() -> tuple[float, list[str]]:
    """The milliseconds of CPU that one process spent on the plugin, and the modules it imported."""
    child = subprocess.run(
        [sys.executable, "-c", PROCESS], check=True, stdout=subprocess.PIPE, text=True
    )
    milliseconds, modules = json.loads(child.stdout.splitlines()[-1])
    return milliseconds, modules


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=7, help="default: %(default)s")
    options = parser.parse_args()
    measured = [load() for _ in range(options.processes)]
    times = [milliseconds for milliseconds, _ in measured]
    print(
        f"Loading the plugin: median {statistics.median(times):.2f} ms, "
        f"{min(times):.2f} to {max(times):.2f} ms of CPU, over {len(times)} processes."
    )
    print("Modules it imports:", ", ".join(measured[0][1]))


if __name__ == "__main__":
    main()
