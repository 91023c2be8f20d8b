"""Work without a clock: what a call takes in function calls and in characters."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable


def count_calls(function: Callable[[], object], characters: bool = True) -> int:
    """Function calls, of Python and C alike, and the characters that they go through.

    A method of a text is taken to read all of it. What the function prepares once is not counted
    if it ran before.
    """
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            read = getattr(argument, "__self__", None)
            count += 1 + (len(read) if characters and isinstance(read, str) else 0)

    gc.disable()  # It calls what others have registered.
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count
