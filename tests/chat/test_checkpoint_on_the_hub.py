"""What a hub answers, or does not: a stand-in for it on this machine, and its real client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from releases import matrix

COMMIT = "1" * 40
WITH_TOOLS = json.dumps({"chat_template": "{{ tools }}"}).encode()
ASK = """
import json, sys
from midm_vllm.chat.template_selection import choose_template
for name in sys.argv[1:]:
    choice = choose_template(*name.split("@"))
    print(json.dumps([choice.known, choice.path, choice.reason]))
"""


class Hub(ThreadingHTTPServer):
    """Answers by the owner's name, with the headers of the hub; counts what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: Counter[str] = Counter()
        self.ended = threading.Event()
        self.down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        if "/resolve/" not in self.path:  # The client's questions about itself.
            return self._answer(404)
        _, owner, _, _, revision, name = self.path.split("/", 5)
        self.server.asked[f"{owner} {name}"] += 1
        if owner == "silent":
            self.server.ended.wait()
        elif owner == "gated":
            self._answer(403, error="GatedRepo")
        elif owner == "missing":
            self._answer(401, error="RepoNotFound")
        elif owner == "broken" or self.server.down:
            self._answer(503)
        elif owner == "portal":
            self._answer(200, b"<html>Log in first.</html>", of_hub=False)
        elif owner == "slow" and name == "tokenizer_config.json":
            self._answer(200, b"{}")
        elif owner == "slow":
            self.server.ended.wait()
        elif revision == "never":
            self._answer(404, error="RevisionNotFound")
        elif name != "tokenizer_config.json":
            self._answer(404, error="EntryNotFound")
        else:
            self._answer(200, WITH_TOOLS)

    do_GET = do_HEAD

    def _answer(
        self, status: int, body: bytes = b"", error: str | None = None, of_hub: bool = True
    ) -> None:
        self.send_response(status)
        if of_hub:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", '"1234"')
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.ended.set()
        server.shutdown()


def choices(
    url: str, cache: Path, *names: str, client: Path | None = None
) -> list[tuple[bool, str | None, str]]:
    """What a new process chooses for each checkpoint, asking the hub at ``url``."""
    environment = {name: value for name, value in os.environ.items() if "_OFFLINE" not in name}
    if client is not None:
        path = [str(client), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(path)
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        capture_output=True,
        text=True,
        env=environment | {"HF_ENDPOINT": url, "HF_HOME": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    assert "retry" not in done.stderr.lower()
    # The hub's client prints there what it cannot import.
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.fixture(
    params=["", pytest.param("0.11.0", marks=pytest.mark.slow)],
    ids=lambda release: f"of vLLM {release}" if release else "installed",
)
def client(request: pytest.FixtureRequest) -> Path | None:
    """A folder with the hub's client that a release of vLLM comes with; None: what is installed."""
    return matrix.overlay(matrix.RELEASES[request.param]) if request.param else None


def test_each_refusal_is_one_sentence_and_asked_for_once(
    hub: Hub, tmp_path: Path, client: Path | None
) -> None:
    names = ("gated/m", "missing/m", "broken/m", "silent/m", "portal/m", "here/m@never")
    said = {
        "gated/m": "gated/m is gated: accept its terms on its page, and give a token",
        "missing/m": "the hub has no missing/m, or it is private: check the name",
        "broken/m": f"the hub at {hub.url} answers 503 where it is asked for tokenizer_config.json",
        "silent/m": f"no answer from the hub at {hub.url}",
        "portal/m": f"no answer from the hub at {hub.url} that its client could use: ",
        "here/m@never": "the hub has no revision never of here/m",
    }
    chosen = choices(hub.url, tmp_path, *names, client=client)
    for name, (known, path, reason) in zip(names, chosen, strict=True):
        assert (known, path) == (False, None)
        assert said[name] in reason and "\n" not in reason
    del hub.asked["portal tokenizer_config.json"]  # By its client, too, which finds no hub there.
    assert set(hub.asked.values()) == {1}


def test_what_the_hub_did_not_come_to_send_may_be_there(hub: Hub, tmp_path: Path) -> None:
    """Its first file has no template, and of those that may have one there is no answer."""
    [(known, path, reason)] = choices(hub.url, tmp_path, "slow/m")
    assert (known, path) == (False, None)
    assert f"no answer from the hub at {hub.url}" in reason
    assert hub.asked["slow additional_chat_templates/tool_use.jinja"] == 1


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999", "no address"])
def test_a_wrong_address_of_the_hub_is_one_sentence(tmp_path: Path, url: str) -> None:
    [(known, path, reason)] = choices(url, tmp_path, "here/m")
    assert (known, path) == (False, None)
    assert "HF_ENDPOINT" in reason or url in reason


def test_what_the_hub_has_is_read_and_next_time_needs_no_hub(
    hub: Hub, tmp_path: Path, client: Path | None
) -> None:
    assert choices(hub.url, tmp_path, "here/m", client=client) == [[True, None, "it handles tools"]]
    hub.down = True
    [(known, path, reason)] = choices(hub.url, tmp_path, "here/m", client=client)
    assert (known, path) == (True, None)
    assert reason == "it handles tools, going by its copy in the hub's cache"


def test_a_cached_checkpoint_does_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--silent--m" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer_config.json").write_bytes(WITH_TOOLS)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    [(known, path, reason)] = choices(hub.url, tmp_path, "silent/m")
    assert (known, path) == (True, None)
    assert reason == "it handles tools, going by its copy in the hub's cache"
    assert hub.asked.total() == 1


def test_a_hub_that_refuses_connections_is_named(tmp_path: Path) -> None:
    with Hub() as closed:
        url = closed.url
    [(known, path, reason)] = choices(url, tmp_path, "here/m")
    assert (known, path) == (False, None)
    assert f"no answer from the hub at {url}: " in reason
