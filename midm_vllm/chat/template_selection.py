"""Which chat template serves a checkpoint: its own or the packaged one.

Looking at a checkpoint reads its small text files only, in a local folder or on
the Hugging Face hub (and its local cache): no weights, no tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from midm_vllm.chat.checkpoint_files import CheckpointFiles, CheckpointUnreachable
from midm_vllm.chat.rendering import MIDM1_MODEL_TYPE, PACKAGED_TEMPLATE, compile_template


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
    return choose_template_among(CheckpointFiles(checkpoint, revision, token))


def choose_template_among(files: CheckpointFiles) -> TemplateChoice:
    """The same of a checkpoint whose files are being read for more than this."""
    try:
        path, reason = _choose(files.checkpoint, files.read)
    except CheckpointUnreachable as error:
        return TemplateChoice(
            None,
            f"its files cannot be read from here and it is assumed to handle tools ({error})",
            known=False,
        )
    if files.from_cache:
        reason += ", going by its copy in the hub's cache"
    return TemplateChoice(path, reason)


def _choose(checkpoint: str, read: Callable[[str], str | None]) -> tuple[str | None, str]:
    template = _checkpoint_template(checkpoint, read)
    if template is not None and handles_tools(template):
        return None, "it handles tools"
    if f'"{MIDM1_MODEL_TYPE}"' in (read("config.json") or ""):
        return None, "Mi:dm 1.0 was not trained to call tools"
    if template is None:
        return str(PACKAGED_TEMPLATE), "the checkpoint has none"
    return str(PACKAGED_TEMPLATE), "the checkpoint's own ignores tools"


def own_template(files: CheckpointFiles) -> str | None:
    """The checkpoint's only template; None if it has none, or several for different requests."""
    try:
        config = json.loads(files.read("tokenizer_config.json") or "{}").get("chat_template")
        if isinstance(config, list) or files.read("additional_chat_templates/tool_use.jinja"):
            return None
        return _checkpoint_template(files.checkpoint, files.read)
    except (CheckpointUnreachable, ValueError, AttributeError, RecursionError):
        return None


def handles_tools(template: str) -> bool:
    """Whether a Jinja chat template reads the variable ``tools`` anywhere.

    A template that is not valid Jinja counts as one that does, so that it stays
    in place and its error is reported where it is used.
    """
    from jinja2 import TemplateSyntaxError, nodes

    try:
        tree = compile_template("").environment.parse(template)
    except (TemplateSyntaxError, RecursionError):
        return True
    return any(name.name == "tools" and name.ctx == "load" for name in tree.find_all(nodes.Name))


def register_template_fallback(registry: ModuleType) -> None:
    """Give Mi:dm 2.0 checkpoints without any template the packaged one.

    vLLM's registry goes by model type, and Mi:dm's is ``llama``, so the answer
    depends on the checkpoint's name; other Llamas get what they got before.
    """
    before = getattr(registry, "_MODEL_TYPE_TO_CHAT_TEMPLATE_FALLBACK", {}).pop("llama", None)

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
            f"{checkpoint} has neither tokenizer_config.json nor config.json: is the name right?"
        )
    template = read("additional_chat_templates/tool_use.jinja") or read("chat_template.jinja")
    if template is not None or config is None:
        return template
    try:
        in_config = json.loads(config).get("chat_template")
        if isinstance(in_config, list):
            named = {entry["name"]: entry["template"] for entry in in_config}
            in_config = named.get("tool_use", named.get("default"))
    except (ValueError, RecursionError) as error:
        raise CheckpointUnreachable(f"tokenizer_config.json is no JSON: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointUnreachable(
            "the chat_template in tokenizer_config.json is not as Transformers reads it"
        ) from error
    return None if in_config is None else str(in_config)
