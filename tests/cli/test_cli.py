"""``midm-vllm``, as it is typed: processes, their output, their exit status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from importlib.metadata import version
from pathlib import Path

import pytest

import midm_vllm
from midm_vllm.cli import doctor
from midm_vllm.chat.rendering import PACKAGED_TEMPLATE, compile_template

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


def test_doctor_prints_the_command_where_all_checks_pass(checkpoint: Path) -> None:
    done = midm_vllm_command("doctor", str(checkpoint))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vLLM loads the plugin and finds midm-parser" in done.stdout
    assert "the checkpoint's own, because it handles tools" in done.stdout
    assert done.stdout.endswith(f"Run: vllm serve {checkpoint} --tool-call-parser midm-parser\n")
    launchers = 'set tool_call_parser="midm-parser", enable_auto_tool_choice=True\n'
    assert launchers in done.stdout


def test_doctor_reports_that_vllm_plugins_excludes_the_plugin(checkpoint: Path) -> None:
    done = midm_vllm_command("doctor", str(checkpoint), VLLM_PLUGINS="lora_resolver")
    assert done.returncode == 1
    assert "unset it, or add midm" in done.stdout


@pytest.mark.parametrize(
    ("environment", "level", "text"),
    [
        ({}, doctor.Level.OK, None),
        ({"VLLM_USE_RUST_FRONTEND": "0"}, doctor.Level.OK, None),
        ({"VLLM_USE_RUST_FRONTEND": "1"}, doctor.Level.OK, "the Python front end serves, because"),
        (
            {"VLLM_USE_RUST_FRONTEND": "1", "MIDM_VLLM_RUST_FRONTEND": "1"},
            doctor.Level.WARNING,
            "its own parser hermes",
        ),
        ({"MIDM_VLLM_RUST_FRONTEND": "1"}, doctor.Level.WARNING, "set both to 1"),
    ],
    ids=["unset", "off", "on", "both", "ours alone"],
)
def test_doctor_reports_which_front_end_serves(
    environment: dict[str, str],
    level: doctor.Level,
    text: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("VLLM_USE_RUST_FRONTEND", "MIDM_VLLM_RUST_FRONTEND"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    findings = [each for each in doctor.examine_environment() if "RUST_" in each.text]
    if text is None:
        assert findings == []
    else:
        [finding] = findings
        assert finding.level is level
        assert text in finding.text


def test_doctor_reports_versions_that_do_not_fit(checkpoint: Path, tmp_path: Path) -> None:
    old = install(tmp_path, "vllm", "0.8.4", "transformers<4.0")
    done = midm_vllm_command("doctor", str(checkpoint), PYTHONPATH=path(old))
    assert done.returncode == 1
    assert "vLLM 0.8.4 is too old" in done.stdout
    assert 'pip install "transformers<4.0"' in done.stdout


def test_doctor_reports_two_installations(checkpoint: Path, tmp_path: Path) -> None:
    places = []
    for name in ("first", "second"):
        places.append(install(tmp_path / name, "midm-vllm", "0.1.0"))
        shutil.copytree(PACKAGE, tmp_path / name / "midm_vllm")
        entry_points = tmp_path / name / "midm_vllm-0.1.0.dist-info" / "entry_points.txt"
        entry_points.write_text("[vllm.general_plugins]\nmidm = midm_vllm.plugin:register\n")
    done = midm_vllm_command("doctor", str(checkpoint), PYTHONPATH=path(*places))
    assert done.returncode == 1
    assert f"{places[0]}" in done.stdout
    assert f"there is also {places[1]}" in done.stdout


def test_doctor_reports_that_the_plugin_is_not_installed(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "entry_points", lambda group: [])
    findings = list(doctor.examine(str(checkpoint), None))
    [problem] = [each.text for each in findings if each.level is doctor.Level.PROBLEM]
    assert "pip install midm-vllm" in problem


def test_doctor_prints_all_flags_where_the_defaults_are_off(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    environment = {"MIDM_VLLM_SERVING_DEFAULTS": "0", "VLLM_PLUGINS": ""}
    done = midm_vllm_command("doctor", str(tmp_path), **environment)
    assert "the packaged one" in done.stdout
    flags = f"--enable-auto-tool-choice --chat-template {PACKAGED_TEMPLATE}"
    assert done.stdout.endswith(f"--tool-call-parser midm-parser {flags}\n")
    assert f'enable_auto_tool_choice=True, chat_template="{PACKAGED_TEMPLATE}"\n' in done.stdout


def test_doctor_reports_a_missing_checkpoint(tmp_path: Path) -> None:
    done = midm_vllm_command("doctor", str(tmp_path / "none"), VLLM_PLUGINS="")
    assert done.returncode == 1
    assert "cannot be read from here" in done.stdout


def test_template_prints_the_path_of_the_packaged_one() -> None:
    assert midm_vllm_command("template").stdout == f"{PACKAGED_TEMPLATE}\n"


def test_a_template_is_printed_with_the_guard(tmp_path: Path) -> None:
    own = "{% for message in messages %}{{ message.content }}{% endfor %}"
    file = tmp_path / "template.jinja"
    file.write_text(own)
    tokens = {"added_tokens_decoder": {"1": {"content": "[INST]", "special": True}}}
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": own, **tokens}))
    for source, text, guarded in (
        (file, "a <|b|> [INST]", "a < |b|> [INST]"),
        (tmp_path, "a <|b|> [INST]", "a <|b|> [ INST]"),
    ):
        printed = midm_vllm_command("template", "--guard", str(source)).stdout
        assert printed.endswith(own)
        messages = [{"role": "user", "content": text}]
        assert compile_template(printed).render(messages=messages) == guarded
    done = midm_vllm_command("template", "--guard", str(tmp_path / "nothing"))
    assert done.returncode == 2 and "no checkpoint" in done.stderr
    file.write_text("{% if %}")
    done = midm_vllm_command("template", "--guard", str(file))
    assert done.returncode == 1 and done.stderr.startswith("Cannot be guarded: ")


@pytest.mark.parametrize("name", ["many_tools_and_system", "control_tokens_allowed", "user"])
def test_template_prints_the_prompt_of_a_request(name: str) -> None:
    expected = (PROMPTS / f"{name}.txt").read_text("utf-8")
    assert midm_vllm_command("template", str(PROMPTS / f"{name}.json")).stdout == expected


def test_template_takes_a_list_of_messages_from_standard_input() -> None:
    messages = json.dumps([{"role": "user", "content": "안녕하세요"}])
    expected = (PROMPTS / "user.txt").read_text("utf-8")
    assert midm_vllm_command("template", "-", text=messages).stdout == expected


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ('[{"role": "wizard"}]', 1, "Unknown role wizard"),
        ("[", 2, "not JSON"),
        ('{"prompt": ""}', 2, "expected a list of messages"),
    ],
)
def test_template_explains_invalid_input(text: str, status: int, reason: str) -> None:
    done = midm_vllm_command("template", "-", text=text)
    assert done.returncode == status
    assert reason in done.stderr
    assert not done.stdout


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


def test_parse_shows_the_events_of_each_delta() -> None:
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


def nested(depth: int) -> str:
    return '[{"role": "user", "content": "' + "x" + '", "more": ' + "[" * depth + "]" * depth + "}]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"role": "user", "content": 5}]', "must be text, or a list of parts"),
        ('[{"role": "user", "content": ["hello"]}]', "must be text, or a list of parts"),
        ('["hello"]', "expected a list of messages"),
        ('{"messages": [], "tools": ["f"]}', '"tools" must be a list of objects'),
        ('{"messages": [], "chat_template_kwargs": [1]}', 'kwargs" must be an object'),
        ('[{"role": "user", "content": "\\ud800"}]', "half of a surrogate pair"),
        ('[{"role": "assistant", "tool_calls": 5}]', "cannot be rendered"),
        ('[{"role": "assistant", "tool_calls": [{"function": 5}]}]', "cannot be rendered"),
        ('{"messages": [{"role": "user", "content": ""}], "tools": [{"function": 5}]}', None),
        (nested(5_000), None),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5_000, "not JSON"),
    ],
)
def test_template_reads_any_json_without_a_traceback(text: str, reason: str | None) -> None:
    done = midm_vllm_command("template", "-", text=text)
    assert "Traceback" not in done.stderr
    if reason is not None:
        assert done.returncode in (1, 2)
        assert reason in " ".join(done.stderr.replace("│", "").split())


@pytest.mark.parametrize("command", ["template", "parse"])
def test_a_binary_file_causes_no_traceback(command: str, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    for file in (binary, tmp_path, tmp_path / "none"):
        done = midm_vllm_command(command, str(file))
        assert "Traceback" not in done.stderr
        assert done.returncode == (0 if (command, file) == ("parse", binary) else 2)


def test_a_closed_pipe_causes_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "midm_vllm", "parse", "--stream", "--delta-size", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(b"word " * 20_000)
    assert process.returncode == 1
    assert b"Traceback" not in errors


def test_an_ascii_terminal_shows_korean_as_escapes(tmp_path: Path) -> None:
    folder = tmp_path / "미듬"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text("{}")
    ascii_only = {"PYTHONIOENCODING": "ascii", "VLLM_PLUGINS": ""}
    done = midm_vllm_command("doctor", str(folder), **ascii_only)
    assert "Traceback" not in done.stderr
    assert "\\ubbf8\\ub4ec" in done.stdout
    assert json.loads(midm_vllm_command("parse", text="안녕", **ascii_only).stdout)["content"] == (
        "안녕"
    )
    messages = json.dumps([{"role": "user", "content": "안녕하세요"}])
    expected = (PROMPTS / "user.txt").read_text("utf-8")
    assert midm_vllm_command("template", "-", text=messages, **ascii_only).stdout == expected


def test_the_version_is_printed() -> None:
    done = midm_vllm_command("--version")
    assert (done.returncode, done.stdout) == (0, f"midm-vllm {version('midm-vllm')}\n")


IMPERFECT = '네.\n<tool_call>{"name": "f", "parameters": {"x": [1</tool_call> <tool_call>?'


def test_an_imperfect_output_is_explained() -> None:
    done = midm_vllm_command("parse", "--explain", text=IMPERFECT)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "        text                      네.",
        'call 0  markup                    \\n<tool_call>{"name": "f", "parameters":',
        'call 0  arguments                 {"x": [1',
        "call 0  markup                    </tool_call>",
        "        began as a call, is text   <tool_call>",
        "        text                      ?",
        'call 0: "f": parameters_key, bracket_missing, added ]}',
        "began as a call, is text: 1, of which cut off: 0",
    ]


def test_an_explanation_can_be_printed_as_json() -> None:
    done = midm_vllm_command("parse", "--explain", "--json", text=IMPERFECT)
    explanation = json.loads(done.stdout)
    assert "".join(piece["text"] for piece in explanation["pieces"]) == IMPERFECT
    assert explanation["pieces"][2] == {"read_as": "arguments", "text": '{"x": [1', "call": 0}
    assert explanation["calls"] == [{
        "name": "f", "arguments": '{"x": [1]}', "complete": True,
        "repairs": ["parameters_key", "bracket_missing"], "added": "]}",
    }]


def test_an_explanation_is_coloured_in_a_terminal() -> None:
    done = midm_vllm_command("parse", "--explain", text=IMPERFECT, FORCE_COLOR="1")
    assert "\x1b[32m" in done.stdout


#: Escape sequences of 7 and of 8 bits, a bell, a deletion, writing turned around, a line separator.
HOSTILE = "\x1b[2J \x9b31m \x07 \x7f \u202e \u2028 \u2066 \U000e0001 서울　날씨"


@pytest.mark.parametrize("options", [(), ("--explain",), ("--explain", "--json"), ("--stream",)])
def test_hostile_output_cannot_control_a_terminal(options: tuple[str, ...]) -> None:
    text = f'{HOSTILE}<tool_call>{{"name": "{HOSTILE}", "arguments": "{HOSTILE}"}}</tool_call>'
    shown = midm_vllm_command("parse", *options, text=text).stdout
    assert "서울　날씨" in shown or "--stream" in options
    assert not [character for character in shown if unicodedata.category(character) in
                ("Cc", "Cf", "Zl", "Zp") and character != "\n"]
    if options == ():
        assert json.loads(shown)["content"] == HOSTILE


def test_json_requires_explain() -> None:
    done = midm_vllm_command("parse", "--json", text=IMPERFECT)
    assert done.returncode == 2 and "--explain" in done.stderr
