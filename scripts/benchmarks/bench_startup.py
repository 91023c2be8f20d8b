"""What loading the plugin adds to the start of a vLLM process.

Each measurement is a fresh process in which vLLM's plugin loader is imported, and then loads and
runs the plugin's entry point as vLLM does: once where nothing else of vLLM is imported, so that
the parts of the plugin wait for theirs, and once where the whole API server is, so that every part
registers at once. The plugin's bytecode is compiled first, as pip does when it installs.
"""

from __future__ import annotations

import argparse
import compileall
import json
import statistics
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "midm_vllm"
BEFORE = {
    "nothing else imported": "",
    "the API server imported": "import vllm.entrypoints.openai.api_server",
}
PROCESS = """\
import json, sys, time
from importlib.metadata import entry_points

import vllm.plugins
{before}

[plugin] = entry_points(group=vllm.plugins.DEFAULT_PLUGINS_GROUP, name="midm")
modules = set(sys.modules)
start = time.process_time()
plugin.load()()
milliseconds = (time.process_time() - start) * 1000
print(json.dumps([milliseconds, sorted(set(sys.modules) - modules)]))
"""


def load(before: str) -> tuple[float, list[str]]:
    """The milliseconds of CPU that one process spent on the plugin, and the modules it imported."""
    child = subprocess.run(
        [sys.executable, "-c", PROCESS.format(before=before)],
        check=True, stdout=subprocess.PIPE, text=True,
    )
    milliseconds, modules = json.loads(child.stdout.splitlines()[-1])
    return milliseconds, modules


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=15, help="default: %(default)s")
    options = parser.parse_args()
    compileall.compile_dir(PACKAGE, quiet=1)
    for case, before in BEFORE.items():
        measured = [load(before) for _ in range(options.processes)]
        times = [milliseconds for milliseconds, _ in measured]
        print(
            f"Loading the plugin with {case}: median {statistics.median(times):.2f} ms, "
            f"{min(times):.2f} to {max(times):.2f} ms of CPU, over {len(times)} processes."
        )
        print("  Modules it imports:", ", ".join(measured[0][1]))


if __name__ == "__main__":
    main()
