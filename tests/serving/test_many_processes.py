"""vLLM in many processes: the plugin is in each of them, and what they say together is right."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from devtools.chat_completions import answers, expected, openai_client, request, streamed_answers
from devtools.conversations import BY_NAME, Conversation
from devtools.server import Server, run_server, serve_arguments
from tool_call_counters import metrics

pytestmark = pytest.mark.slow

CONVERSATIONS = [
    BY_NAME[name]
    for name in ("single_call", "parallel_calls_english", "prose_then_call", "area_answer")
]
COUNTED = [
    BY_NAME[name]
    for name in ("parallel_calls_in_one_block", "call_without_arguments",
                 "answer_that_names_the_tag", "answer_that_needs_no_tool")
]  # fmt: skip
#: What each counter grows by when these are answered once.
COUNTS = {
    ("calls", "complete"): 3, ("repairs", "parameters_key"): 2,
    ("repairs", "several_in_block"): 1, ("repairs", "arguments_missing"): 1,
    ("texts", "broken"): 1,
}  # fmt: skip
ATTEMPTS = 20
API_SERVERS = ("ApiServer_0", "ApiServer_1")
RAY_ON_CPU = Path(__file__).parents[1] / "support" / "ray_on_cpu"
# In vLLM's log, for each process that writes one: the plugin it loads, a request it takes.
PLUGIN = re.compile(r"\(([\w-]+) pid=\d+\) .* - midm -> midm_vllm\.plugin:register")
REQUEST = re.compile(r"\(([\w-]+) pid=\d+\) .*Received request")


def assert_answers_are_right(
    server: Server, conversations: Iterable[Conversation] = CONVERSATIONS
) -> None:
    for conversation in conversations:
        # A connection of its own each time, so that all API servers get some.
        with openai_client(server) as client:
            completion = client.chat.completions.create(**request(conversation))
            assert answers(completion) == [expected(conversation)]
        with openai_client(server) as client:
            chunks = client.chat.completions.create(**request(conversation), stream=True)
            assert streamed_answers(chunks) == [expected(conversation)]


def processes(line: re.Pattern[str], server: Server) -> Counter[str]:
    return Counter(line.findall(server.log.read_text(errors="replace")))


def engines_at_work(server: Server) -> set[str]:
    with openai_client(server) as client:
        metrics = client.get(f"{server.url}/metrics", cast_to=str)
    return set(re.findall(r'generation_tokens_total{engine="(\d)".*} [1-9]', metrics))


@pytest.fixture(scope="module")
def two_of_each(
    renamed_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Two API servers before two engines."""
    arguments = serve_arguments(
        renamed_checkpoint, "--api-server-count", "2", "--data-parallel-size", "2",
        "--enable-log-requests",
    )
    log = tmp_path_factory.mktemp("two") / "vllm.log"
    with run_server(arguments, log, {"VLLM_LOGGING_LEVEL": "DEBUG"}) as server:
        yield server


def test_two_api_servers_and_two_engines(two_of_each: Server) -> None:
    server = two_of_each
    for _ in range(ATTEMPTS):
        assert_answers_are_right(server)
        if len(processes(REQUEST, server)) == len(engines_at_work(server)) == 2:
            break
    assert set(processes(REQUEST, server)) == {"ApiServer_0", "ApiServer_1"}
    assert engines_at_work(server) == {"0", "1"}
    assert processes(PLUGIN, server) == {
        "ApiServer_0": 1, "ApiServer_1": 1, "EngineCore_DP0": 1, "EngineCore_DP1": 1,
        "VllmWorker-0": 2,
    }


def test_each_api_server_shows_what_all_have_counted(two_of_each: Server) -> None:
    server = two_of_each
    counted, taken = metrics(server), processes(REQUEST, server)
    answers = 0
    while answers < 2 * ATTEMPTS:
        assert_answers_are_right(server, COUNTED)
        answers += 2
        if all(processes(REQUEST, server)[name] > taken[name] for name in API_SERVERS):
            break
    assert all(processes(REQUEST, server)[name] > taken[name] for name in API_SERVERS)
    # Each asks over a connection of its own, so that either API server may answer.
    for _ in range(ATTEMPTS):
        assert metrics(server).since(counted) == {
            key: answers * count for key, count in COUNTS.items()
        }


def test_two_ranks_of_one_engine(renamed_checkpoint: Path, tmp_path: Path) -> None:
    arguments = serve_arguments(
        renamed_checkpoint, "--tensor-parallel-size", "2", "--disable-log-stats"
    )
    counters = tmp_path / "counters"
    counters.mkdir()
    environment = {"VLLM_LOGGING_LEVEL": "DEBUG", "VLLM_CPU_OMP_THREADS_BIND": "0|1",
                   "PROMETHEUS_MULTIPROC_DIR": str(counters)}
    with run_server(arguments, tmp_path / "vllm.log", environment) as server:
        assert_answers_are_right(server)
        before = metrics(server)
        assert_answers_are_right(server, COUNTED)
        # Counted also where vLLM writes no statistics, and in a folder of the user's.
        assert metrics(server).since(before) == {key: 2 * count for key, count in COUNTS.items()}
    # The API server loads it before it can log, and answers with its parser.
    assert processes(PLUGIN, server) == {"EngineCore": 1, "VllmWorker-0": 1, "VllmWorker-1": 1}


def test_ray_as_the_executor(renamed_checkpoint: Path, tmp_path: Path) -> None:
    arguments = serve_arguments(renamed_checkpoint, "--distributed-executor-backend", "ray")
    path = [str(RAY_ON_CPU), *filter(None, [os.environ.get("PYTHONPATH")])]
    # A short name, because it becomes part of the names of Ray's sockets.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        environment = {
            "VLLM_LOGGING_LEVEL": "DEBUG", "VLLM_HOST_IP": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join(path), "RAY_TMPDIR": folder,
            "RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0", "RAY_USAGE_STATS_ENABLED": "0",
        }
        with run_server(arguments, tmp_path / "vllm.log", environment) as server:
            assert_answers_are_right(server)
    # In the log, Ray's worker has two names: Ray's and, behind it, vLLM's.
    assert processes(PLUGIN, server) == {"EngineCore": 1, "RayWorkerProc": 1}
