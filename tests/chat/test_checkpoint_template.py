"""Which template serves a checkpoint: told from its small files alone."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub.constants
import pytest

from midm_vllm.chat.rendering import PACKAGED_TEMPLATE
from midm_vllm.chat.template_selection import choose_template, handles_tools

PLAIN = "{% for message in messages %}{{ message.content }} about tools{% endfor %}"
WITH_TOOLS = "{% if tools is defined and tools %}{{ tools | tojson }}{% endif %}"
CONFIG = "tokenizer_config.json"
JINJA = "chat_template.jinja"
TOOL_USE = "additional_chat_templates/tool_use.jinja"


def in_config(template: object) -> str:
    return json.dumps({"chat_template": template})


def named(**templates: str) -> str:
    return in_config([{"name": name, "template": text} for name, text in templates.items()])


def write(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return str(folder)


@pytest.mark.parametrize(
    "files",
    [
        {CONFIG: in_config(WITH_TOOLS)},
        {CONFIG: named(default=PLAIN, tool_use=WITH_TOOLS)},
        {CONFIG: named(default=WITH_TOOLS)},
        {CONFIG: "{}", JINJA: WITH_TOOLS},
        {CONFIG: in_config(PLAIN), JINJA: WITH_TOOLS},
        {CONFIG: "{}", JINJA: PLAIN, TOOL_USE: WITH_TOOLS},
        {CONFIG: in_config(PACKAGED_TEMPLATE.read_text("utf-8"))},
    ],
)
def test_a_template_that_handles_tools_is_kept(tmp_path: Path, files: dict[str, str]) -> None:
    choice = choose_template(write(tmp_path, files))
    assert (choice.path, choice.reason) == (None, "it handles tools")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({CONFIG: "{}"}, "has none"),
        ({"config.json": "{}"}, "has none"),
        ({CONFIG: in_config(None)}, "has none"),
        ({CONFIG: in_config(PLAIN)}, "ignores tools"),
        ({CONFIG: named(default=PLAIN, rag=WITH_TOOLS)}, "ignores tools"),
        ({CONFIG: in_config(WITH_TOOLS), JINJA: PLAIN}, "ignores tools"),
    ],
)
def test_the_packaged_template_stands_in(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    choice = choose_template(write(tmp_path, files))
    assert choice.path == str(PACKAGED_TEMPLATE)
    assert reason in choice.reason


@pytest.mark.parametrize("own", [{}, {JINJA: PLAIN}], ids=["no template", "plain template"])
def test_midm_1_keeps_its_own_form(tmp_path: Path, own: dict[str, str]) -> None:
    files = {CONFIG: "{}", "config.json": '{"model_type": "midm-bitext-S"}', **own}
    choice = choose_template(write(tmp_path, files))
    assert (choice.path, choice.known) == (None, True)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {CONFIG: "{"},
        {"weights.gguf": ""},
        {CONFIG: "[" * 100_000},
        {CONFIG: "[]"},
        {CONFIG: in_config([{"name": "default"}])},
        {CONFIG: in_config(["default"])},
    ],
    ids=["empty", "broken", "other", "nested", "list", "no template", "no names"],
)
def test_nothing_is_decided_about_what_cannot_be_read(
    tmp_path: Path, files: dict[str, str]
) -> None:
    choice = choose_template(write(tmp_path, files))
    assert (choice.path, choice.known) == (None, False)


def test_a_template_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, {CONFIG: "{}"})
    (tmp_path / JINJA).write_bytes("안녕 {{ tools }}".encode("cp949"))
    choice = choose_template(folder)
    assert not choice.known
    assert f"{JINJA} is not UTF-8 text" in choice.reason


@pytest.mark.parametrize("name", ["s3://bucket/midm", "/no/such/folder", "midm.gguf", "a/b/c"])
def test_a_name_that_is_none_of_the_hub_is_left_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    choice = choose_template(name)
    assert (choice.path, choice.known) == (None, False)


def test_the_hubs_cache_is_enough_and_the_revision_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--K-intelligence--Midm"
    write(repository, {"refs/main": "1" * 40, "refs/old": "2" * 40})
    write(repository / "snapshots" / ("1" * 40), {CONFIG: in_config(WITH_TOOLS)})
    write(repository / "snapshots" / ("2" * 40), {CONFIG: in_config(PLAIN)})
    reason = choose_template("K-intelligence/Midm").reason
    assert reason == "it handles tools, going by its copy in the hub's cache"
    assert choose_template("K-intelligence/Midm", "old").path == str(PACKAGED_TEMPLATE)
    assert not choose_template("K-intelligence/Midm", "never").known


@pytest.mark.parametrize(
    ("template", "handles"),
    [
        ("{% if not tools is defined %}{% set tools = none %}{% endif %}", True),
        ("{% for tool in tools or [] %}{{ tool }}{% endfor %}", True),
        ("{% for m in messages %}{% generation %}{{ tools }}{% endgeneration %}{% endfor %}", True),
        ("{{ messages[0].tools }} {{ 'tools' }} {# tools #}", False),
        ("{% set tools = [] %}", False),
        ("{% if %}", True),
    ],
)
def test_handling_tools_is_reading_the_variable(template: str, handles: bool) -> None:
    assert handles_tools(template) is handles
