"""A lost rank is replaced in place under load, by the spare and then by a fresh one; greedy answers stay the same."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx2
import pytest

from tests.serving_process import RunningServing, running_serving, stop, stopped_ranks, until

QUESTIONS = [f"What is {first} + {second}?" for first in (12, 25, 71) for second in (30, 8)]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServing]:
    home = tmp_path_factory.mktemp("repaired")
    with running_serving(home, replicas=1, ranks=2, spare_ranks=1) as running:
        until(lambda: len(rank_processes(running)) == 3)
        yield running


@pytest.fixture
def client(serving: RunningServing) -> Iterator[httpx2.Client]:
    with serving.client() as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(serving: RunningServing) -> dict[str, str]:
    with serving.client() as client:
        return {question: answer(client, question) for question in QUESTIONS}


def test_the_spare_takes_a_killed_ranks_place(
    serving: RunningServing, client: httpx2.Client, undisturbed: dict[str, str]
) -> None:
    before = client.get("/model").json()
    first, lost = pids(before)
    (spare,) = rank_processes(serving) - {first, lost}
    with asking(serving) as answered:
        os.kill(lost, signal.SIGKILL)
        after = repaired(client, before["epoch"])

    assert after["replica"] == before["replica"]
    assert pids(after) == [first, spare]
    assert [rank["expert_ids"] for rank in by_rank(after)] == [rank["expert_ids"] for rank in by_rank(before)]
    assert {**undisturbed, **answered} == undisturbed
    until(lambda: len(rank_processes(serving)) == 3)  # another spare is made ready


def test_a_stopped_rank_is_killed_at_its_limit_and_replaced(
    serving: RunningServing, client: httpx2.Client, undisturbed: dict[str, str]
) -> None:
    before = client.get("/model").json()
    lost, second = pids(before)
    with asking(serving) as answered:
        os.kill(lost, signal.SIGSTOP)
        after = repaired(client, before["epoch"])

    assert pids(after)[1] == second
    assert lost not in rank_processes(serving)
    assert {**undisturbed, **answered} == undisturbed


def test_without_a_spare_a_fresh_rank_takes_the_place(
    serving: RunningServing, client: httpx2.Client, undisturbed: dict[str, str]
) -> None:
    before = client.get("/model").json()
    with asking(serving) as answered:
        for pid in rank_processes(serving) - {pids(before)[0]}:
            os.kill(pid, signal.SIGKILL)  # the second rank, and the spare where there is one
        after = repaired(client, before["epoch"])

    assert pids(after)[0] == pids(before)[0]
    assert {**undisturbed, **answered} == undisturbed


def test_sigterm_lets_an_ask_finish_and_leaves_no_process_and_no_file(
    serving: RunningServing, client: httpx2.Client
) -> None:
    """Last: it ends the application."""
    question = {"messages": [{"role": "user", "content": QUESTIONS[0]}]}
    processes, temp, steps = serving.processes(), Path(serving.run), [step["step"] for step in serving.steps]
    with ThreadPoolExecutor(1) as pool:
        with stopped_ranks(serving):
            asked = pool.submit(client.post, "/ask", json=question)
            until(lambda: client.get("/health").json()["asks"] == 1)
            serving.process.terminate()
            assert json.loads(serving.process.stdout.readline())["step"] == "stopping"  # type: ignore[union-attr]
        stop(serving.process)

    assert asked.result().status_code == 200
    assert "replica.stopped" in (serving.home / "logs" / "replicas.log").read_text()  # spans were flushed
    assert steps == ["checkpoint", "ray", "proxy", "replicas", "ready"]
    assert serving.process.returncode == 0
    assert processes
    assert not [process for process in processes if process.is_running()]
    assert not temp.exists()
    assert (serving.home / "ray" / "token").stat().st_mode & 0o777 == 0o600


@contextmanager
def asking(serving: RunningServing) -> Iterator[dict[str, str]]:
    """All the while every question is asked over and over; afterwards, what was answered."""
    answered: dict[str, str] = {}
    over = Event()

    def ask(question: str) -> None:
        with serving.client() as client:
            while not over.is_set():
                text = answer(client, question)
                assert answered.setdefault(question, text) == text

    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        askers: list[Future[None]] = [pool.submit(ask, question) for question in QUESTIONS]
        try:
            yield answered
        finally:
            over.set()
    for asker in askers:
        asker.result()


def answer(client: httpx2.Client, question: str) -> str:
    """Asked again from the prompt when a rank was lost, as the gateway does."""
    while True:
        response = client.post("/ask", json={"messages": [{"role": "user", "content": question}]})
        if response.status_code == 200:
            return str(response.json()["text"])
        assert response.json()["error"]["code"] == "rank_lost"
        time.sleep(float(response.headers["retry-after"]))


def repaired(client: httpx2.Client, before: int) -> dict[str, Any]:
    """What the replica says of itself in its next epoch."""
    said: list[dict[str, Any]] = []

    def is_repaired() -> bool:
        response = client.get("/model")
        if response.status_code == 200 and response.json()["epoch"] > before:
            said.append(response.json())
        return bool(said)

    until(is_repaired)
    return said[0]


def by_rank(model: dict[str, Any]) -> list[dict[str, Any]]:
    ranks: list[dict[str, Any]] = model["parameters"]["by_rank"]
    return ranks


def pids(model: dict[str, Any]) -> list[int]:
    return [rank["pid"] for rank in by_rank(model)]


def rank_processes(serving: RunningServing) -> set[int]:
    """Ranks and the spare."""
    return {process.pid for process in serving.processes() if process.cmdline()[0].startswith("ray::Rank")}
