"""``midm-vllm``, as it is typed: processes, their output, their exit status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import midm_vllm
from midm_vllm import doctor
from midm_vllm.chat.rendering import PACKAGED_TEMPLATE

PROMPTS = Path(__file__).parent.parent / "chat" / "prompts"
OUTPUT = '네. <tool_call>{"name": "f", "arguments": {"city": "서울"}}</tool_call>'
PACKAGE = Path(midm_vllm.__file__).parent


def midm_vllm_command(
    *arguments: str, text: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "midm_vllm", *arguments],
        input=text,
        capture_output=True,
        encoding="utf-8",
        cwd="/",
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"} | environment,
    )


def install(folder: Path, name: str, version: str, *requirements: str) -> str:
    """Give a folder an installed distribution's metadata; returns the folder for the path."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    metadata.write_text("\n".join(lines) + "\n")
    return str(folder)


def path(*folders: str) -> str:
    return os.pathsep.join([*folders, str(PACKAGE.parent)])


def test_doctor_finds_all_well_and_says_what_to_run(checkpoint: Path) -> None:
    done = midm_vllm_command("doctor", str(checkpoint))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vLLM loads the plugin and finds midm-parser" in done.stdout
    assert "the checkpoint's own, because it handles tools" in done.stdout
    assert done.stdout.endswith(f"Run: vllm serve {checkpoint} --tool-call-parser midm-parser\n")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"VLLM_PLUGINS": "lora_resolver"}, "unset it, or add midm"),
        ({"VLLM_USE_RUST_FRONTEND": "1"}, "loads no Python tool parser"),
    ],
    ids=["plugins", "rust"],
)
def test_doctor_sees_what_the_environment_keeps_from_working(
    checkpoint: Path, environment: dict[str, str], said: str
) -> None:
    done = midm_vllm_command("doctor", str(checkpoint), **environment)
    assert done.returncode == 1
    assert said in done.stdout


def test_doctor_sees_versions_that_do_not_fit(checkpoint: Path, tmp_path: Path) -> None:
    old = install(tmp_path, "vllm", "0.8.4", "transformers<4.0")
    done = midm_vllm_command("doctor", str(checkpoint), PYTHONPATH=path(old))
    assert done.returncode == 1
    assert "vLLM 0.8.4 is too old" in done.stdout
    assert 'pip install "transformers<4.0"' in done.stdout


def test_doctor_sees_two_installations(checkpoint: Path, tmp_path: Path) -> None:
    places = []
    for name in ("first", "second"):
        places.append(install(tmp_path / name, "midm-vllm", "0.1.0"))
        shutil.copytree(PACKAGE, tmp_path / name / "midm_vllm")
        entry_points = tmp_path / name / "midm_vllm-0.1.0.dist-info" / "entry_points.txt"
        entry_points.write_text("[vllm.general_plugins]\nmidm = midm_vllm.plugin:register\n")
    done = midm_vllm_command("doctor", str(checkpoint), PYTHONPATH=path(*places))
    assert done.returncode == 1
    assert f"in use is {places[0]}" in done.stdout
    assert f"there is also {places[1]}" in done.stdout


def test_doctor_sees_that_the_plugin_is_not_installed(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "entry_points", lambda group: [])
    findings = list(doctor.examine(str(checkpoint), None, None))
    [problem] = [each.text for each in findings if each.level is doctor.Level.PROBLEM]
    assert "pip install midm-vllm" in problem


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "from vllm.entrypoints.openai.tool_parsers.granite_20b_fc_tool_parser import (\n"
            "    Granite20bFCToolParser)\n",
            "does not import on vLLM",
        ),
        ("NAME = 'midm-parser'\n", "registers a midm-parser of its own"),
        ("import (\n", "cannot be read"),
    ],
    ids=["vendor", "same name", "broken"],
)
def test_doctor_says_when_a_parser_file_is_in_the_way(
    checkpoint: Path, tmp_path: Path, code: str, said: str
) -> None:
    file = tmp_path / "parser.py"
    file.write_text(code)
    done = midm_vllm_command("doctor", str(checkpoint), "--tool-parser-plugin", str(file))
    assert done.returncode == 1
    assert said in done.stdout


def test_doctor_names_all_flags_where_the_defaults_are_off(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    environment = {"MIDM_VLLM_SERVING_DEFAULTS": "0", "VLLM_PLUGINS": ""}
    done = midm_vllm_command("doctor", str(tmp_path), **environment)
    assert "the packaged one" in done.stdout
    flags = f"--enable-auto-tool-choice --chat-template {PACKAGED_TEMPLATE}"
    assert done.stdout.endswith(f"--tool-call-parser midm-parser {flags}\n")


def test_doctor_cannot_be_well_without_the_checkpoint(tmp_path: Path) -> None:
    done = midm_vllm_command("doctor", str(tmp_path / "none"), VLLM_PLUGINS="")
    assert done.returncode == 1
    assert "cannot be read from here" in done.stdout


def test_template_prints_the_path_of_the_packaged_one() -> None:
    assert midm_vllm_command("template").stdout == f"{PACKAGED_TEMPLATE}\n"


@pytest.mark.parametrize("name", ["many_tools_and_system", "control_tokens_allowed", "user"])
def test_template_prints_the_prompt_of_a_request(name: str) -> None:
    expected = (PROMPTS / f"{name}.txt").read_text("utf-8")
    assert midm_vllm_command("template", str(PROMPTS / f"{name}.json")).stdout == expected


def test_template_takes_a_list_of_messages_from_standard_input() -> None:
    messages = json.dumps([{"role": "user", "content": "안녕하세요"}])
    expected = (PROMPTS / "user.txt").read_text("utf-8")
    assert midm_vllm_command("template", "-", text=messages).stdout == expected


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ('[{"role": "wizard"}]', 1, "Unknown role wizard"),
        ("[", 2, "not JSON"),
        ('{"prompt": ""}', 2, "expected a list of messages"),
        ('[{"role": "user", "content": 5}]', 2, "messages.0.content"),
        ('["hello"]', 2, "messages.0"),
        ('{"messages": [], "tools": ["f"]}', 2, "tools.0"),
        ('{"messages": [], "tools": [{"function": 5}]}', 1, "Cannot be rendered"),
        ('{"messages": [], "chat_template_kwargs": [1]}', 2, "chat_template_kwargs"),
        ('[{"role": "user", "content": "\\ud800"}]', 1, "half of a surrogate pair"),
        ("[" * 5000, 2, "nests too deep"),
        ("[" * 50 + "]" * 50, 2, "messages.0"),
    ],
)
def test_template_says_what_is_wrong(text: str, status: int, said: str) -> None:
    done = midm_vllm_command("template", "-", text=text)
    assert done.returncode == status
    assert said in done.stderr
    assert not done.stdout


def test_a_file_that_is_no_text_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\xff\xfe\x00")
    for name in ("weights.bin", "no-such-file", ""):
        done = midm_vllm_command("template", str(tmp_path / name))
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "Invalid value" in done.stderr


def test_a_korean_path_is_shown_on_a_terminal_that_knows_ascii(tmp_path: Path) -> None:
    model = tmp_path / "믿음"
    model.mkdir()
    done = midm_vllm_command("doctor", str(model), PYTHONIOENCODING="ascii", VLLM_PLUGINS="")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert r"\ubbff\uc74c" in done.stdout


def test_the_version_is_told() -> None:
    assert midm_vllm_command("--version").stdout == f"midm-vllm {version('midm-vllm')}\n"


@pytest.mark.parametrize("from_file", [True, False])
def test_parse_prints_the_openai_message(from_file: bool, tmp_path: Path) -> None:
    file = tmp_path / "output.txt"
    file.write_text(OUTPUT, "utf-8")
    done = midm_vllm_command("parse", str(file)) if from_file else (
        midm_vllm_command("parse", text=OUTPUT)
    )
    message = json.loads(done.stdout)
    assert message["content"] == "네."
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"city": "서울"}'}


def test_parse_shows_what_leaves_with_each_delta() -> None:
    done = midm_vllm_command("parse", "--stream", "--delta-size", "25", text=OUTPUT)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert "".join(line["delta"] for line in lines[:-1]) == OUTPUT
    assert lines[-1]["delta"] is None
    assert [event for line in lines for event in line["events"]] == [
        {"event": "ContentText", "text": "네."},
        {"event": "CallStarted", "index": 0, "name": "f"},
        {"event": "ArgumentText", "index": 0, "text": '{"city": '},
        {"event": "ArgumentText", "index": 0, "text": '"서울"}'},
        {"event": "CallEnded", "index": 0},
    ]
