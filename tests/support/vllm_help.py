"""Answer `vllm` command lines that end in `--help`, a JSON list a line in, a JSON text a line out.

One process for all of them: vLLM is imported once, which takes nearly all of the time.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from vllm.entrypoints.cli.main import main


def answer(arguments: list[str]) -> str:
    """What `vllm *arguments` prints; AssertionError where it ends with another status than 0."""
    sys.argv = ["vllm", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            main()
        except SystemExit as ended:
            assert not ended.code, f"{sys.argv} ended with {ended.code}"
    return printed.getvalue()


if __name__ == "__main__":
    answers = sys.stdout
    sys.stdout = sys.stderr  # Where vLLM logs.
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
