"""The address and the model that an example is started with, and whether they are there."""

from __future__ import annotations

import json
import sys
from urllib.error import HTTPError
from urllib.request import urlopen


def served_model() -> tuple[str, str]:
    """The two from the command line; where they are wrong the program ends with a sentence."""
    if len(sys.argv) < 3:
        sys.exit(f"Usage: python {sys.argv[0]} http://localhost:8000/v1 MODEL")
    url, name = sys.argv[1].rstrip("/"), sys.argv[2]
    try:
        with urlopen(f"{url}/models", timeout=30) as answer:
            names = [model["id"] for model in json.load(answer)["data"]]
    except HTTPError as error:
        sys.exit(
            f"{url}/models answers {error.code} {error.reason}: the address has to end in /v1, "
            "and the server to want no key."
        )
    except (OSError, ValueError) as error:  # Nobody listens, or it is no address.
        reason = getattr(error, "reason", error)
        sys.exit(f"No server at {url} ({reason}): start one with `vllm serve MODEL`.")
    if name not in names:
        sys.exit(f"The server at {url} has no model {name!r}: it has {', '.join(names)}.")
    return url, name
