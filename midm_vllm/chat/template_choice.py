"""Which chat template serves a checkpoint: its own or the packaged one.

Looking at a checkpoint reads its small text files only, in a local folder or on
the Hugging Face hub (and its local cache): no weights, no tokenizer.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from midm_vllm.chat.rendering import MIDM1_MODEL_TYPE, PACKAGED_TEMPLATE, compile_template


class CheckpointUnreachable(Exception):
    """The checkpoint's files cannot be read from here; the message says why."""


@dataclass(frozen=True)
class TemplateChoice:
    """Which template serves a checkpoint: its own where ``path`` is None.

    ``known`` is False where the checkpoint could not be looked at.
    """

    path: str | None
    reason: str
    known: bool = True


def choose_template(
    checkpoint: str, revision: str | None = None, token: str | bool | None = None
) -> TemplateChoice:
    """Keep the template of ``checkpoint`` if it handles tools, else take the packaged one.

    ``checkpoint`` is a folder or a name on the hub. One that cannot be reached
    keeps what it has: serving it fails later, with vLLM's own words. Mi:dm 1.0
    keeps its own form, which the packaged template does not speak.
    """
    read = partial(_read_file, checkpoint, revision, token)
    try:
        template = _checkpoint_template(checkpoint, read)
        if template is not None and handles_tools(template):
            return TemplateChoice(None, "it handles tools")
        if f'"{MIDM1_MODEL_TYPE}"' in (read("config.json") or ""):
            return TemplateChoice(None, "Mi:dm 1.0 was not trained to call tools")
    except CheckpointUnreachable as error:
        return TemplateChoice(None, f"its files cannot be read from here ({error})", known=False)
    if template is None:
        return TemplateChoice(str(PACKAGED_TEMPLATE), "the checkpoint has none")
    return TemplateChoice(str(PACKAGED_TEMPLATE), "the checkpoint's own ignores tools")


def handles_tools(template: str) -> bool:
    """Whether a Jinja chat template reads the variable ``tools`` anywhere.

    A template that is not valid Jinja counts as one that does, so that it stays
    in place and its error is reported where it is used.
    """
    from jinja2 import TemplateSyntaxError, nodes

    try:
        tree = compile_template(template).environment.parse(template)
    except TemplateSyntaxError:
        return True
    return any(name.name == "tools" and name.ctx == "load" for name in tree.find_all(nodes.Name))


def register_template_fallback(registry: ModuleType) -> None:
    """Give Mi:dm 2.0 checkpoints without any template the packaged one.

    vLLM's registry goes by model type, and Mi:dm's is ``llama``, so the answer
    depends on the checkpoint's name; other Llamas get what they got before.
    """
    before = registry._MODEL_TYPE_TO_CHAT_TEMPLATE_FALLBACK.pop("llama", None)

    def fallback(tokenizer_name_or_path: str) -> Path | None:
        if re.search(r"midm[-_.]?2", tokenizer_name_or_path, re.IGNORECASE):
            return PACKAGED_TEMPLATE
        path: Path | None = before(tokenizer_name_or_path) if callable(before) else before
        return path

    registry.register_chat_template_fallback_path("llama", fallback)


def _checkpoint_template(checkpoint: str, read: Callable[[str], str | None]) -> str | None:
    """The template a request with tools gets from the checkpoint's tokenizer.

    Where Transformers looks, in its order: ``additional_chat_templates/`` and
    ``chat_template.jinja``, else ``tokenizer_config.json``; of several
    templates the one named ``tool_use``, else the one named ``default``.
    """
    config = read("tokenizer_config.json")
    if config is None and read("config.json") is None:
        raise CheckpointUnreachable(
            f"no tokenizer_config.json or config.json of {checkpoint}: is the name right, "
            "and the hub reachable?"
        )
    template = read("additional_chat_templates/tool_use.jinja") or read("chat_template.jinja")
    if template is not None or config is None:
        return template
    try:
        in_config = json.loads(config).get("chat_template")
    except ValueError as error:
        raise CheckpointUnreachable(f"tokenizer_config.json: {error}") from error
    if isinstance(in_config, list):
        named = {entry["name"]: entry["template"] for entry in in_config}
        in_config = named.get("tool_use", named.get("default"))
    return None if in_config is None else str(in_config)


def _read_file(
    checkpoint: str, revision: str | None, token: str | bool | None, name: str
) -> str | None:
    """The text of a file of the checkpoint, None if the checkpoint lacks it."""
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        if os.path.isdir(checkpoint):
            path = os.path.join(checkpoint, name)
        elif os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true"):
            raise CheckpointUnreachable("VLLM_USE_MODELSCOPE is set")
        else:
            path = hf_hub_download(checkpoint, name, revision=revision, token=token)
        return Path(path).read_text("utf-8")
    except (FileNotFoundError, EntryNotFoundError):
        return None
    except (OSError, httpx.HTTPError, HFValidationError, UnicodeDecodeError) as error:
        raise CheckpointUnreachable(str(error).partition("\n")[0]) from error
