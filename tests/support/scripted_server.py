"""A real `vllm serve` whose model writes given outputs, for tests with real clients.

Only the sampler is scripted (`scripted_model.py`). Rendering, tokenizing, scheduling, grammars,
parsing and streaming are vLLM's. The script can change while the server runs, and each prompt that
the model was given is recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from devtools.checkpoint import HEADER, HEADER_END
from devtools.server import Server, run_server

#: The environment variable that names a script's folder to the server.
FOLDER = "SCRIPTED_MODEL"
#: Of the scripted model, in tokens.
CONTEXT = 131_072
RESULT = f"{HEADER}tool{HEADER_END}"


@dataclass(frozen=True)
class Output:
    """What the model writes for a prompt that fits.

    A prompt fits when it has `contains` in it, and as many tool results as `results`, if given.
    """

    text: str
    contains: str = ""
    results: int | None = None

    def fits(self, prompt: str) -> bool:
        return self.contains in prompt and self.results in (None, prompt.count(RESULT))


@dataclass(frozen=True)
class Prompt:
    """A prompt that the model was given, with its special tokens."""

    text: str
    token_ids: tuple[int, ...]


class Script:
    """A script's folder: the outputs in order of precedence, and the prompts that came."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._outputs, self._prompts = folder / "outputs.json", folder / "prompts.jsonl"

    def write(self, *outputs: Output) -> None:
        """Have the model write these from now on; the prompts of before are forgotten."""
        unfinished = self._outputs.with_suffix(".new")
        unfinished.write_text(json.dumps([asdict(output) for output in outputs]))
        unfinished.replace(self._outputs)
        self._prompts.write_text("")

    def outputs(self) -> Sequence[Output]:
        return [Output(**output) for output in json.loads(self._outputs.read_text())]

    def record(self, prompt: Prompt) -> None:
        with self._prompts.open("a") as file:
            file.write(json.dumps(asdict(prompt)) + "\n")

    def prompts(self) -> Sequence[Prompt]:
        """The prompts since the outputs were written, in the order in which they were computed."""
        lines = map(json.loads, self._prompts.read_text().splitlines())
        return [Prompt(line["text"], tuple(line["token_ids"])) for line in lines]


@contextlib.contextmanager
def scripted_server(
    checkpoint: Path, folder: Path, *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[Server, Script]]:
    """A `vllm serve` of the checkpoint whose model follows the script in `folder`.

    Args:
        checkpoint: any checkpoint with Mi:dm's special tokens.
        folder: an empty folder for the script and the server's log.
        arguments: further arguments of `vllm serve`; they win over those set here.
        environment: further environment variables of the server.
    """
    script = Script(folder)
    script.write()
    # Two threads spin where they wait for each other; one is as fast at this size. The search path
    # is for the logits processor.
    variables = {FOLDER: str(folder), "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1",
                 "PYTHONPATH": os.pathsep.join(sys.path)}
    # Coding agents' prompts are longer than the checkpoint's context: more positions are computed.
    command = ["serve", str(checkpoint), "--enforce-eager",
               "--hf-overrides", json.dumps({"max_position_embeddings": CONTEXT}),
               "--tool-call-parser", "midm-parser",
               "--logits-processors", "scripted_model:ScriptedModel", *arguments]
    with run_server(command, folder / "vllm.log", variables | (environment or {})) as server:
        yield server, script
