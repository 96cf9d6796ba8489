"""The unmodified client sends a question again when it hears nothing: it stays one interaction and one review item."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from storage.database import migrate
from storage.tables import interactions, review_items
from tests.gateway.cutting_proxy import CuttingProxy, cutting
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for, until
from tests.storage.servers import new_database, postgres_server


@contextmanager
def asking(
    gateway: Gateway, proxy: CuttingProxy, question: str, timeout: float = 30.0, retries: int = 2
) -> Iterator[list[str]]:
    """The client asks through the proxy while the block runs; afterwards the list has the completion's id."""
    client = gateway.openai(max_retries=retries, timeout=timeout).with_options(base_url=f"{proxy.url}/v1")
    messages: Any = [{"role": "user", "content": question}]
    got: list[str] = []

    def ask() -> None:
        got.append(client.chat.completions.create(model="countersign-reference", messages=messages).id)

    thread = threading.Thread(target=ask)
    thread.start()
    yield got
    thread.join(30)


def recorded(gateway: Gateway, question: str) -> tuple[list[str], int]:
    """Ids of the interactions with this question, and the number of their review items."""
    with gateway.database.read() as conn:
        asked = sa.select(interactions.c.id).where(interactions.c.messages.contains(question, autoescape=True))
        ids = list(conn.execute(asked).scalars())
        items = sa.select(sa.func.count()).where(review_items.c.interaction_id.in_(ids))
        return ids, conn.execute(items.select_from(review_items)).scalar_one()


def test_client_that_times_out_gets_the_answer_of_its_first_attempt(gateway: Gateway, serving: FakeServing) -> None:
    serving.hold_slow_answers()
    question = "impatient [slow] [0.3]"
    with (
        cutting(gateway.url) as proxy,
        asking(gateway, proxy, question, timeout=1.0, retries=20) as got,
    ):
        until(lambda: proxy.connections >= 3)
        serving.let_slow_answers_go()
    assert serving.times_asked(question) == 1
    assert recorded(gateway, question) == (got, 1)


def test_answer_that_is_lost_on_its_way_is_sent_again(gateway: Gateway, serving: FakeServing) -> None:
    question = "lost on the way [0.3]"
    with cutting(gateway.url, cut=1) as proxy, asking(gateway, proxy, question) as got:
        pass
    assert proxy.connections == 2
    assert serving.times_asked(question) == 1
    assert recorded(gateway, question) == (got, 1)


def send(gateway: Gateway, question: str, count: int, read_timeout: str = "600") -> socket.socket:
    """Sends a question as the client does, and reads nothing yet."""
    body = orjson.dumps({"model": "countersign-reference", "messages": [{"role": "user", "content": question}]})
    host, port = gateway.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {gateway.secrets['caller']}\r\n"
        f"x-stainless-retry-count: {count}\r\nx-stainless-read-timeout: {read_timeout}\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    raw = socket.create_connection((host, int(port)), timeout=30)
    raw.sendall(head.encode() + body)
    return raw


def answer(raw: socket.socket) -> tuple[dict[str, str], Any]:
    """Headers and body."""
    with raw:
        head, _, body = b"".join(iter(lambda: raw.recv(65_536), b"")).partition(b"\r\n\r\n")
    lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
    return {name.lower(): value for name, value in lines}, orjson.loads(body)


def test_retry_that_waits_keeps_the_generation_alive_when_the_first_caller_leaves(
    gateway: Gateway, serving: FakeServing
) -> None:
    serving.hold_slow_answers()
    serving.cancelled.clear()
    question = "left behind [slow] [0.3]"
    first = send(gateway, question, 0)
    until(lambda: serving.times_asked(question) == 1)
    retry = send(gateway, question, 1)
    under_way = gateway.app.state.context.under_way
    until(lambda: any(asking.callers == 2 for asking in list(under_way._asking.values())))
    first.close()
    until(lambda: any(asking.callers == 1 for asking in list(under_way._asking.values())))
    serving.let_slow_answers_go()
    headers, completion = answer(retry)
    assert headers["idempotent-replayed"] == "true"
    assert not serving.cancelled.is_set()
    assert recorded(gateway, question) == ([completion["id"]], 1)


def test_retry_whose_first_attempt_fails_asks_by_itself(gateway: Gateway, serving: FakeServing) -> None:
    question = "fails [busy] [0.3]"
    assert gateway.ask(question).status_code == 429
    headers, body = answer(send(gateway, question, 1))
    assert (body["error"]["code"], headers["retry-after"]) == ("overloaded", "3")
    assert recorded(gateway, question) == ([], 0)


def test_same_question_asked_twice_is_two_interactions(gateway: Gateway) -> None:
    question = "asked twice [0.3]"
    ids = [gateway.ask(question).json()["id"] for _ in range(2)]
    assert sorted(recorded(gateway, question)[0]) == sorted(ids)


@pytest.mark.parametrize("count", ["-1", "1e9", "many", "\uff11".encode().decode("latin-1"), "9" * 400])
def test_count_that_is_none_is_ignored(gateway: Gateway, count: str) -> None:
    question = f"odd count {len(count)}{count[0]!r} [0.97]"
    with gateway.http() as http:
        headers = [(b"x-stainless-retry-count", count.encode("latin-1"))]
        body = {"model": "countersign-reference", "messages": [{"role": "user", "content": question}]}
        assert http.post("/v1/chat/completions", json=body, headers=headers).status_code == 200


@pytest.fixture(scope="module")
def gateways(
    serving: FakeServing, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    home: Path = tmp_path_factory.mktemp("retries")
    with postgres_server() as server:
        url = new_database(server)
        migrate(url)
        settings = settings_for(home, serving.url, valkey_url, database_url=url)
        with running(settings) as here, running(settings, here.secrets) as there:
            yield here, there


def test_retry_at_another_gateway_is_one_with_its_first_attempt(
    gateways: tuple[Gateway, Gateway], serving: FakeServing
) -> None:
    here, there = gateways
    serving.hold_slow_answers()
    question = "elsewhere [slow] [0.3]"
    with (
        cutting(here.url, there.url) as proxy,
        asking(here, proxy, question, timeout=1.0, retries=20) as got,
    ):
        until(lambda: serving.times_asked(question) == 2)
        serving.let_slow_answers_go()
    assert recorded(here, question) == (got, 1)


def test_retry_is_one_with_what_another_gateway_recorded(
    gateways: tuple[Gateway, Gateway], serving: FakeServing
) -> None:
    here, there = gateways
    question = "recorded elsewhere [0.3]"
    with cutting(here.url, there.url, cut=1) as proxy, asking(here, proxy, question) as got:
        pass
    assert serving.times_asked(question) == 1
    assert recorded(there, question) == (got, 1)


def test_first_attempt_recorded_after_its_retry_is_one_with_it(
    gateways: tuple[Gateway, Gateway], serving: FakeServing
) -> None:
    here, there = gateways
    serving.hold_slow_answers()
    question = "overtaken [slow] [0.3]"
    first = send(here, question, 0)
    until(lambda: serving.times_asked(question) == 1)
    retry = send(there, question, 1)
    until(lambda: serving.times_asked(question) == 2)
    serving.let_slow_answers_go()
    ids = {answer(first)[1]["id"], answer(retry)[1]["id"]}
    assert recorded(here, question) == ([*ids], 1)
