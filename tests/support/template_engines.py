"""The packaged template in each engine that users render it with.

An engine takes a list of requests (the variables of the template) and gives for each
the prompt, or the :class:`Refused` that the template raised.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from devtools.checkpoint import REPOSITORY
from javascript import installed, run_node

from midm_vllm.chat import PACKAGED_TEMPLATE, render_prompt

JAVASCRIPT = REPOSITORY / "tests" / "chat" / "javascript"


@dataclass(frozen=True)
class Refused:
    """What an engine says of a conversation that the template refuses."""

    reason: str


Engine = Callable[[list[dict[str, Any]]], list["str | Refused"]]


def jinja2(requests: list[dict[str, Any]]) -> list[str | Refused]:
    from jinja2 import TemplateError

    def render(request: dict[str, Any]) -> str | Refused:
        try:
            return render_prompt(**{"add_generation_prompt": False, **request})
        except TemplateError as error:
            return Refused(str(error))

    return [render(request) for request in requests]


def minijinja(requests: list[dict[str, Any]]) -> list[str | Refused]:
    """The Rust engine."""
    from minijinja import Environment, TemplateError

    def raise_exception(reason: str) -> None:
        raise ValueError(reason)

    environment = Environment(templates={"midm": PACKAGED_TEMPLATE.read_text("utf-8")})
    environment.add_global("raise_exception", raise_exception)

    def render(request: dict[str, Any]) -> str | Refused:
        try:
            return environment.render_template("midm", **request)
        except (TemplateError, ValueError) as error:
            return Refused(str(error))

    return [render(request) for request in requests]


def huggingface_jinja(requests: list[dict[str, Any]]) -> list[str | Refused]:
    """The JavaScript engine of transformers.js and LM Studio, in Node.js."""
    work = json.dumps(
        {"template": PACKAGED_TEMPLATE.read_text("utf-8"), "requests": requests}
    )
    program = installed(JAVASCRIPT) / "render.mjs"
    done = run_node(program, input=work.encode(), stdout=subprocess.PIPE)
    answers = json.loads(done.stdout)
    return [a["prompt"] if "prompt" in a else Refused(a["error"]) for a in answers]
