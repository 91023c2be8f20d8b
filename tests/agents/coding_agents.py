"""Coding agents as their locks install them, with the settings in `examples/coding_agents`.

Each runs without a person, in a home folder of its own, and can reach nothing but this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
from devtools.setup_env import REPOSITORY, own_environment
from javascript import installed, nodejs

SETTINGS = REPOSITORY / "examples" / "coding_agents"
#: What the settings say, and the tests replace by the server's.
ADDRESS = "http://localhost:8000"
SECONDS = 300
#: A proxy that nobody listens on: requests to other machines fail at once.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
OFFLINE = MappingProxyType({
    **dict.fromkeys(PROXIES, "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    "DO_NOT_TRACK": "1", "CI": "1", "NO_COLOR": "1", "LANG": "C.UTF-8", "TERM": "dumb",
})

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Agent:
    """How an agent is installed, set up and run, and how its tools are called.

    In `command`, `continued` and `read`, `{home}`, `{work}` and `{url}` are filled in; the prompt
    is the command's last word.
    """

    name: str
    command: Sequence[str]
    #: A tool that reads a file, with its arguments for the file `{file}`.
    read: tuple[str, Arguments]
    #: A tool that runs a shell command, with its arguments for `{shell}`.
    run: tuple[str, Arguments]
    #: The command for the next question in the same session; empty where there is none.
    continued: Sequence[str] = ()
    #: File in SETTINGS -> where it belongs in the home folder.
    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Run once before the first question.
    prepared_by: Sequence[str] = ()
    #: What a shell command begins with that ends the session: some agents end in no other way.
    ending: str = ""
    #: What it says to the model, in a user's message, of a call that it cannot make; empty where it
    #: sends a result of that call.
    complaint: str = ""
    #: Whether it sends the pictures that it reads, although the model reads text only.
    sends_images: bool = False

    def __str__(self) -> str:
        return self.name


NPM = "{npm}/node_modules"
CLAUDE = f"{NPM}/@anthropic-ai/claude-code-linux-x64/claude"
CLAUDE_TOOLS = ("--tools", "Read,Bash", "--allowedTools", "Read,Bash")
CODEX = f"{NPM}/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
OPENCODE = f"{NPM}/opencode-linux-x64/bin/opencode"
CLINE = f"{NPM}/@cline/cli-linux-x64/bin/cline"
PI = ("{node}", f"{NPM}/@mariozechner/pi-coding-agent/dist/cli.js", "--provider", "vllm", "--model",
      "midm")
CONTINUE = ("{node}", f"{NPM}/@continuedev/cli/dist/cn.js", "--config", "{home}/config.yaml",
            "--auto", "-p")

AGENTS = [
    Agent(
        "claude-code", (CLAUDE, *CLAUDE_TOOLS, "-p"),
        continued=(CLAUDE, *CLAUDE_TOOLS, "--continue", "-p"),
        read=("Read", {"file_path": "{file}"}), run=("Bash", {"command": "{shell}"}),
        settings={"claude-code/settings.json": ".claude/settings.json"}, sends_images=True,
    ),
    Agent(
        "codex", (CODEX, "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access"),
        continued=(CODEX, "exec", "resume", "--skip-git-repo-check", "--last"),
        read=("exec_command", {"cmd": "cat {file}"}), run=("exec_command", {"cmd": "{shell}"}),
        settings={f"codex/{name}": f".codex/{name}" for name in ("config.toml", "models.json")},
    ),
    Agent(
        "opencode", (OPENCODE, "run"), continued=(OPENCODE, "run", "--continue"),
        read=("read", {"filePath": "{file}"}),
        run=("bash", {"command": "{shell}", "description": "Runs it"}),
        settings={"opencode/opencode.json": ".config/opencode/opencode.json"},
        environment={"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1",
                     "OPENCODE_DISABLE_LSP_DOWNLOAD": "1", "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1"},
    ),
    Agent(
        "cline", (CLINE,),
        prepared_by=(CLINE, "auth", "-p", "openai-compatible", "-k", "none", "-m", "midm", "-b",
                     "{url}/v1"),
        read=("read_files", {"files": [{"path": "{file}"}]}),
        run=("run_commands", {"commands": ["{shell}"]}), sends_images=True,
    ),
    Agent(
        "pi", (*PI, "-p"), continued=(*PI, "--continue", "-p"),
        read=("read", {"path": "{file}"}), run=("bash", {"command": "{shell}"}),
        settings={"pi/models.json": ".pi/agent/models.json"},
        environment={"PI_OFFLINE": "1", "PI_TELEMETRY": "0"},
    ),
    Agent(
        "continue", CONTINUE, continued=(*CONTINUE, "--resume"),
        read=("Read", {"filepath": "{file}"}), run=("Bash", {"command": "{shell}"}),
        settings={"continue/config.yaml": "config.yaml"},
        environment={"CONTINUE_TELEMETRY_ENABLED": "0"},
    ),
    Agent(
        "mini-swe-agent",
        ("{python}", "-m", "minisweagent.run.mini", "-y", "--exit-immediately", "-t"),
        read=("bash", {"command": "cat {file}"}), run=("bash", {"command": "{shell}"}),
        settings={"mini-swe-agent/settings.env": ".config/mini-swe-agent/.env"},
        ending="echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; ", complaint="Tool call error:",
    ),
]


class Session:
    """One agent with a home and a work folder of its own, set up for a server."""

    def __init__(self, agent: Agent, url: str, folder: Path) -> None:
        self.agent = agent
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        node = nodejs()
        self._filled_in = {
            "home": self.home, "work": self.work, "url": url, "node": node / "bin" / "node",
            "npm": installed(REPOSITORY / "tests" / "agents"),
            "python": own_environment("coding-agents"),
        }
        self.environment = {
            "PATH": f"{node / 'bin'}:{os.environ['PATH']}", "HOME": str(self.home), **OFFLINE,
            **agent.environment,
        }
        for name, target in agent.settings.items():
            (self.home / target).parent.mkdir(parents=True, exist_ok=True)
            text = (SETTINGS / name).read_text("utf-8")
            (self.home / target).write_text(text.replace(ADDRESS, url))
        if agent.prepared_by:
            subprocess.run(
                self._words(agent.prepared_by), env=self.environment, cwd=self.work, check=True,
                stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
            )

    def start(self, question: str, continued: bool = False) -> subprocess.Popen[str]:
        """Ask the agent; a question that goes on the session wants an agent that can do it."""
        command = self.agent.continued if continued else self.agent.command
        return subprocess.Popen(
            [*self._words(command), question], env=self.environment, cwd=self.work, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ask(self, question: str, continued: bool = False) -> str:
        """All that the agent prints for a question; it has to end well."""
        process = self.start(question, continued)
        try:
            printed, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        assert process.returncode == 0, printed
        return printed

    def end(self) -> None:
        """End what the agent left running: some have a daemon."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("HOME") == str(self.home):
                    process.kill()

    def reading(self, file: str) -> str:
        """The markup of a call that reads a file of the work folder."""
        name, arguments = self.agent.read
        return call(name, arguments, file=str(self.work / file))

    def running(self, shell: str) -> str:
        """The markup of a call that runs a shell command."""
        name, arguments = self.agent.run
        return call(name, arguments, shell=shell)

    def _words(self, command: Sequence[str]) -> list[str]:
        return [word.format(**self._filled_in) for word in command]


def call(name: str, arguments: Arguments, **filled_in: str) -> str:
    text = json.dumps({"name": name, "arguments": arguments})
    for placeholder, value in filled_in.items():
        text = text.replace(f"{{{placeholder}}}", json.dumps(value)[1:-1])
    return f"<tool_call>{text}</tool_call>"
