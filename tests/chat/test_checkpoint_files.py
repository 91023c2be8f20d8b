"""A checkpoint on a hub that is well, gated, empty-handed, silent or gone: one sentence each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "1" * 40
CONFIG = json.dumps({"chat_template": "{{ tools }}"})
CHOOSE = """
import sys
from midm_vllm.chat.template_choice import choose_template
choice = choose_template(sys.argv[1])
print(choice.path, choice.known, choice.reason)
"""


class Hub(BaseHTTPRequestHandler):
    """A stand-in for the hub: what it says of a repository goes by the repository's name."""

    requests: list[str]
    closing: threading.Event

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, with_body: bool) -> None:
        self.requests.append(f"{self.command} {self.path}")
        if "silent" in self.path:
            self.closing.wait()
        elif "missing" in self.path:
            self.send(401, {"X-Error-Code": "RepoNotFound"})
        elif "/api/models/" in self.path:
            names = ["tokenizer_config.json", "config.json"]
            about = {"id": "org/model", "sha": COMMIT,
                     "siblings": [{"rfilename": name} for name in names]}
            self.send(200, {"Content-Type": "application/json"}, json.dumps(about))
        elif "gated" in self.path:
            self.send(403, {"X-Error-Code": "GatedRepo"})
        else:
            headers = {"X-Repo-Commit": COMMIT, "ETag": '"etag"'}
            self.send(200, headers, CONFIG, with_body)

    def send(
        self, status: int, headers: dict[str, str], body: str = "", with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    """The address of a stand-in for the hub, and the requests it has had."""
    Hub.requests, Hub.closing = [], threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", Hub.requests
    finally:
        Hub.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def choose(name: str, endpoint: str, home: Path) -> str:
    """What `choose_template` says, in a process whose hub is at `endpoint`."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE"):
        environment.pop(variable, None)
    done = subprocess.run(
        [sys.executable, "-c", CHOOSE, name], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Retrying" not in done.stderr
    return done.stdout.strip()


def test_the_hub_is_asked_which_files_there_are_and_for_those_alone(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    endpoint, requests = hub
    assert choose("org/model", endpoint, tmp_path) == "None True it handles tools"
    assert sum("/api/models/" in request for request in requests) == 1
    assert not any("chat_template.jinja" in request for request in requests)


def test_the_cache_goes_before_the_hub_and_stands_in_for_it(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    endpoint, requests = hub
    choose("org/model", endpoint, tmp_path)
    assert choose("org/model", nobody(), tmp_path) == (
        "None True it handles tools, assuming that the local cache has all its files"
    )


@pytest.mark.parametrize(("name", "said"), [
    ("org/gated", "org/gated is gated: ask for access on its page"),
    ("org/missing", "the hub has no org/missing, or it is private: check the name"),
])
def test_what_the_hub_does_not_give_is_said_with_what_to_do(
    name: str, said: str, hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    answer = choose(name, hub[0], tmp_path)
    assert answer.startswith(f"None False its files cannot be read from here ({said}")
    assert "hf auth login" in answer


def test_a_hub_that_does_not_answer_is_asked_once(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    endpoint, requests = hub
    answer = choose("org/silent", endpoint, tmp_path)
    assert "the hub does not answer, and the local cache has no org/silent" in answer
    assert sum("org/silent" in request for request in requests) == 1


def test_without_a_network_one_sentence_tells(tmp_path: Path) -> None:
    answer = choose("org/model", nobody(), tmp_path)
    assert "the hub does not answer, and the local cache has no org/model" in answer
    assert len(answer.splitlines()) == 1


def nobody() -> str:
    """The address of a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
