"""Two replicas of two ranks under real Ray Serve and HAProxy answer, refuse, fail typed, repair themselves, and end."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from serving.answer import answer_from_json
from serving.confidence.calibration import calibration_to_json
from serving.processes import remove_abandoned_runs
from tests.serving.confidence.made import calibration
from tests.serving_process import RunningServing, running_serving, stopped_ranks, until

QUESTION = {"messages": [{"role": "user", "content": "What is 12 + 30?"}]}
MOST_ASKS = 6  # of one replica


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServing]:
    home = tmp_path_factory.mktemp("serving")
    with running_serving(home, replicas=2, ranks=2, max_asks=MOST_ASKS, span_file=home / "spans.jsonl") as running:
        yield running


@pytest.fixture
def client(serving: RunningServing) -> Iterator[httpx2.Client]:
    with serving.client() as client:
        yield client


def test_both_replicas_answer_under_load(client: httpx2.Client) -> None:
    responses = [future.result() for future in ask_at_once(client, 8)]

    assert {response.status_code for response in responses} == {200}
    answers = [answer_from_json(response.json()) for response in responses]
    assert len({answer.replica for answer in answers}) == 2
    assert len({answer.text for answer in answers}) == 1  # greedy: the same question, the same answer


def test_an_answer_without_calibration_has_no_confidence_but_all_its_signals(client: httpx2.Client) -> None:
    answer = answer_from_json(client.post("/ask", json=QUESTION).json())

    assert answer.confidence.value is None
    assert answer.confidence.note
    assert answer.confidence.signals
    assert len(answer.tokens) <= answer.usage.completion_tokens
    assert {"queue", "prefill", "decode", "confidence"} <= answer.timings_ms.keys()


def test_the_model_names_disjoint_and_complete_experts_by_rank(client: httpx2.Client) -> None:
    model = client.get("/model").json()

    assert model["id"].startswith(f"{model['name']}@")
    first, second = model["parameters"]["by_rank"]
    assert [first["rank"], second["rank"]] == [0, 1]
    for layer, held in first["expert_ids"].items():
        other = second["expert_ids"][layer]
        assert not set(held) & set(other)
        assert sorted(held + other) == list(range(64))
    assert first["expert"] > 0
    assert first["total"] + second["expert"] == model["parameters"]["total"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/ask"), ("GET", "/model"), ("GET", "/health"), ("GET", "/stats"), ("GET", "/metrics")],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}], ids=["none", "wrong"])
def test_without_the_token_nothing_is_told(
    serving: RunningServing, method: str, path: str, headers: dict[str, str]
) -> None:
    response = httpx2.request(method, serving.base_url + path, headers=headers, json=QUESTION)

    assert response.status_code == 401
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 100_000}, "messages"),
        ({"calibration": {"id": "cal_1", "body": {"id": "cal_2"}}}, "calibration.body.id"),
        ({"calibration": {"id": "cal_1", "body": {"id": "cal_1"}}}, "calibration.body"),
        ({"n": 2}, "n"),
    ],
)
def test_a_malformed_ask_is_refused_naming_its_field(client: httpx2.Client, change: Any, param: str) -> None:
    response = client.post("/ask", json={**QUESTION, **change})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("length", [3_000, 1_000_000])
def test_a_prompt_longer_than_the_context_is_refused(client: httpx2.Client, length: int) -> None:
    refused = client.post("/ask", json={"messages": [{"role": "user", "content": "7" * length}]})

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_a_body_over_the_limit_is_refused(client: httpx2.Client) -> None:
    response = client.post("/ask", content=b" " * 1_048_577)

    assert response.status_code == 413


def test_a_calibration_is_asked_for_in_full_once_and_then_known(client: httpx2.Client) -> None:
    body = calibration_to_json(calibration(model=client.get("/model").json()["id"]))
    by_id, in_full = {"id": body["id"]}, {"id": body["id"], "body": body}

    refused = client.post("/ask", json={**QUESTION, "calibration": by_id})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "unknown_calibration")

    answers = [client.post("/ask", json={**QUESTION, "calibration": in_full}) for _ in range(6)]  # reach both replicas
    assert {answer.status_code for answer in answers} == {200}
    known = answer_from_json(client.post("/ask", json={**QUESTION, "calibration": by_id}).json())
    assert known.confidence.calibration_id == body["id"]
    assert known.confidence.value is not None
    assert 0 <= known.confidence.value <= 1


def test_a_replica_tells_what_its_engine_counted(client: httpx2.Client) -> None:
    asked = client.post("/ask", json=QUESTION).json()
    found = [client.get("/stats").json() for _ in range(6)]  # reach both replicas
    own = next(stats for stats in found if stats["replica"] == asked["replica"])

    assert own["engine"]["generated_tokens"] >= asked["usage"]["completion_tokens"]
    assert [rank["alive"] for rank in own["engine"]["ranks"]] == [True, True]
    assert [len(load) for load in own["engine"]["expert_load"]] == [64] * 3
    assert 1.0 <= own["engine"]["imbalance"] <= 2.0
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "countersign_engine_generated_tokens_total" in metrics.text


def test_an_ask_continues_the_callers_trace(serving: RunningServing, client: httpx2.Client) -> None:
    trace_id, parent = "5" * 32, "7" * 16
    answer = client.post("/ask", json=QUESTION, headers={"traceparent": f"00-{trace_id}-{parent}-01"}).json()

    lines = (serving.home / "spans.jsonl").read_text().splitlines()
    spans = [span for span in map(json.loads, lines) if span["trace_id"] == trace_id]
    by_name = {span["name"]: span for span in spans}
    assert by_name["replica.ask"]["parent_id"] == parent
    assert by_name["replica.ask"]["attributes"]["countersign.replica.id"] == answer["replica"]
    assert by_name["engine.prefill"]["attributes"]["gen_ai.usage.input_tokens"] == answer["usage"]["prompt_tokens"]
    assert by_name["engine.decode"]["attributes"]["gen_ai.usage.output_tokens"] == answer["usage"]["completion_tokens"]
    assert {span["attributes"]["countersign.rank"] for span in spans if span["name"] == "engine.rank"} == {0, 1}
    own = by_name["replica.ask"]["span_id"]
    assert {span["parent_id"] for span in spans} == {parent, own}


def test_every_listener_is_on_loopback_and_no_helper_runs(serving: RunningServing) -> None:
    processes = [serving.process.pid, *(process.pid for process in serving.processes())]
    listening = [
        connection.laddr.ip
        for pid in processes
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    names = [" ".join(process.cmdline()) for process in serving.processes()]

    assert listening
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert not [name for name in names if any(word in name for word in ("monitor.py", "log_monitor", "dashboard.py"))]


def test_torch_is_loaded_in_the_ranks_alone(serving: RunningServing) -> None:
    with_torch = {
        process.cmdline()[0].split(".")[0]
        for process in serving.processes()
        if "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text()
    }
    assert with_torch == {"ray::Rank"}


def test_asks_beyond_the_bound_are_told_to_come_back(serving: RunningServing, client: httpx2.Client) -> None:
    with stopped_ranks(serving):
        futures = ask_at_once(client, 2 * MOST_ASKS + 4)
        until(lambda: sum(future.done() for future in futures) >= 4)
    responses = [future.result() for future in futures]

    refused = [response for response in responses if response.status_code == 429]
    assert len(refused) == 4
    assert {response.headers["retry-after"] for response in refused} == {"1"}
    assert {response.json()["error"]["code"] for response in refused} == {"overloaded"}
    assert sum(response.status_code == 200 for response in responses) == 2 * MOST_ASKS


def test_a_caller_that_leaves_gives_its_generation_up(serving: RunningServing, client: httpx2.Client) -> None:
    with stopped_ranks(serving):
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/ask", json=QUESTION, timeout=1)
        until(lambda: all(replica["asks"] == 0 for replica in both(client, "/health").values()))
    assert client.post("/ask", json=QUESTION).status_code == 200


def test_a_killed_rank_fails_what_was_in_flight_and_is_replaced(serving: RunningServing, client: httpx2.Client) -> None:
    until(lambda: len(both(client, "/model")) == 2)
    before = both(client, "/model")
    with stopped_ranks(serving):
        asked = ask_at_once(client, 6)
        until(lambda: bool(busy(client)))  # HAProxy shows the less loaded replica: both are not always seen
        hit = busy(client)[0]
        os.kill(before[hit]["parameters"]["by_rank"][1]["pid"], signal.SIGKILL)
        until(lambda: any(ask.done() for ask in asked))
        failed = next(ask.result() for ask in asked if ask.done())
    meanwhile = [future.result() for future in ask_at_once(client, 4)]
    until(lambda: len(both(client, "/model")) == 2)
    after = both(client, "/model")

    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "rank_lost")
    assert failed.headers["retry-after"] == "1"
    assert {ask.result().status_code for ask in asked} <= {200, 503}
    assert {response.status_code for response in meanwhile} == {200}
    assert after.keys() == before.keys()  # repaired in place: the same two replicas
    assert after[hit]["epoch"] > before[hit]["epoch"]
    assert {future.result().json()["replica"] for future in ask_at_once(client, 8)} == before.keys()


def test_spans_never_hold_content(serving: RunningServing, client: httpx2.Client) -> None:
    secret = "canary-7f3a"
    client.post("/ask", json={"messages": [{"role": "user", "content": f"{secret} 1 + 1?"}]})

    written = [serving.home / "spans.jsonl", *Path(serving.home / "logs").glob("*")]
    assert not [path for path in written if secret in path.read_text()]


def test_after_kill_9_the_next_start_removes_what_remained(serving: RunningServing) -> None:
    """Last: it ends the application."""
    processes, temp = serving.processes(), Path(serving.run)
    serving.process.kill()
    serving.process.wait()

    assert remove_abandoned_runs(serving.home) == 1  # what `python -m serving.start` does first

    assert processes
    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not temp.exists()


def ask_at_once(client: httpx2.Client, count: int) -> list[Future[httpx2.Response]]:
    """Each ask on a thread of its own."""
    pool = ThreadPoolExecutor(count)
    barrier = threading.Barrier(count)

    def ask() -> httpx2.Response:
        barrier.wait()
        return client.post("/ask", json=QUESTION)

    futures = [pool.submit(ask) for _ in range(count)]
    pool.shutdown(wait=False)
    return futures


def busy(client: httpx2.Client) -> list[str]:
    """Replicas seen with asks in flight."""
    return [name for name, replica in both(client, "/health").items() if replica["asks"] > 0]


def both(client: httpx2.Client, path: str) -> dict[str, Any]:
    """What each replica says of itself, by its id; HAProxy takes turns between idle replicas."""
    said: dict[str, Any] = {}
    for _ in range(40):
        response = client.get(path)
        if response.status_code == 200:
            said[response.json()["replica"]] = response.json()
        if len(said) == 2:
            break
    return said
