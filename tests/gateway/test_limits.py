"""Ten times more questions than there are places: each is answered or refused at once, and none is lost."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa

from gateway import limits
from gateway.errors import ApiError
from gateway.limits import Places
from storage.database import Database
from storage.tables import interactions
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import running, settings_for, until


async def refused(places: Places, key_id: str = "key_a") -> ApiError:
    with pytest.raises(ApiError) as error:
        async with places.place(key_id):
            pass
    return error.value


async def test_beyond_places_and_line_is_overloaded() -> None:
    places = Places(most=2, most_per_key=9, most_waiting=1)
    async with AsyncExitStack() as under_way:
        for _ in range(2):
            await under_way.enter_async_context(places.place("key_a"))
        waiting = asyncio.ensure_future(entered(places))
        await asyncio.sleep(0)
        error = await refused(places)
        assert (error.status, error.code, error.headers) == (503, "overloaded", {"retry-after": "1"})
        assert not waiting.done()
    assert await waiting == "key_b"


async def entered(places: Places, key_id: str = "key_b") -> str:
    async with places.place(key_id):
        return key_id


async def test_key_with_its_share_is_refused_and_others_are_not() -> None:
    places = Places(most=4, most_per_key=2, most_waiting=0)
    async with places.place("key_a"), places.place("key_a"):
        error = await refused(places)
        assert (error.status, error.code, error.headers) == (429, "too_many_requests", {"retry-after": "1"})
        assert await entered(places) == "key_b"
    assert await entered(places, "key_a") == "key_a"


async def test_line_is_served_in_order_and_survives_who_leaves_it() -> None:
    places = Places(most=1, most_per_key=9, most_waiting=3)
    order: list[str] = []

    async def wait(name: str) -> None:
        async with places.place(name):
            order.append(name)

    async with places.place("key_a"):
        tasks = [asyncio.ensure_future(wait(name)) for name in ("first", "leaves", "third")]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        late = asyncio.ensure_future(wait("late"))  # there is room in the line again
        await asyncio.sleep(0)
    await asyncio.gather(*tasks, late, return_exceptions=True)
    assert order == ["first", "third", "late"]
    assert await entered(places) == "key_b"


async def test_place_that_comes_as_one_leaves_the_line_goes_to_the_next() -> None:
    places = Places(most=1, most_per_key=9, most_waiting=2)
    async with places.place("key_a"):
        leaves = asyncio.ensure_future(entered(places, "leaves"))
        stays = asyncio.ensure_future(entered(places, "stays"))
        await asyncio.sleep(0)
    leaves.cancel()  # its turn was given and it has not run yet
    assert await stays == "stays"
    assert await entered(places) == "key_b"


async def test_line_that_does_not_move_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LONGEST_IN_LINE_SECONDS", 0.01)
    places = Places(most=1, most_per_key=9, most_waiting=1)
    async with places.place("key_a"):
        assert (await refused(places)).code == "overloaded"
    assert await entered(places) == "key_b"


def test_burst_of_ten_times_the_limit_loses_nothing(home: Path, serving: FakeServing, valkey_url: str) -> None:
    limited = settings_for(
        home, serving.url, valkey_url, max_questions=4, max_waiting_questions=2, max_questions_per_key=4
    )
    serving.hold_slow_answers()
    with running(limited) as gateway, ThreadPoolExecutor(40) as callers:

        def ask(number: int) -> httpx2.Response:
            return gateway.ask(f"burst {number} [slow] [0.3]", ("caller", "stranger")[number % 2])

        before = len(serving.asks)
        asked = [callers.submit(ask, number) for number in range(40)]
        until(lambda: sum(each.done() for each in asked) >= 34)  # all but the places and the line
        assert len(serving.asks) - before <= 2 * 4  # each perhaps told the calibration first
        serving.let_slow_answers_go()
        answers = [each.result() for each in asked]
        told = Counter(answer.status_code for answer in answers)
        assert set(told) <= {202, 429, 503}
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code != 202)
        acknowledged = {answer.json()["id"] for answer in answers if answer.status_code == 202}
        with gateway.database.read() as conn:
            assert set(conn.execute(sa.select(interactions.c.id)).scalars()) == acknowledged
        assert len(acknowledged) == told[202] == 6
        assert gateway.ask("afterwards [0.97]").status_code == 200


def test_overload_is_told_before_a_body_is_read(home: Path, serving: FakeServing, valkey_url: str) -> None:
    limited = settings_for(home, serving.url, valkey_url, max_questions=1, max_waiting_questions=0)
    serving.hold_slow_answers()
    serving.asked.clear()
    with running(limited) as gateway:
        under_way = threading.Thread(target=lambda: gateway.ask("takes the place [slow] [0.3]"))
        under_way.start()
        assert serving.asked.wait(20)
        for who in ("stranger", "csk_nobody", None):  # nor is it looked up whose key it is
            with gateway.http(who) as http:
                answer = http.post("/v1/chat/completions", content=b"not even JSON")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
            assert answer.headers["retry-after"] == "1"
        serving.let_slow_answers_go()
        under_way.join(30)


def test_who_waits_for_a_verdict_takes_no_place(home: Path, serving: FakeServing, valkey_url: str) -> None:
    limited = settings_for(home, serving.url, valkey_url, max_questions=1, max_waiting_questions=0)
    with running(limited) as gateway, ThreadPoolExecutor(2) as waiting:
        held = [
            waiting.submit(lambda: post(gateway.http(), "long poll [0.3]", {"prefer": "wait=25"})),
            waiting.submit(lambda: post(gateway.http("stranger"), "open stream [0.3]", {}, stream=True)),
        ]
        until(lambda: count(gateway.database) == 2)
        assert gateway.ask("meanwhile [0.97]").status_code == 200
        with gateway.http("ada") as http:
            gateway.judge(http.get("/v1/reviews").json()["data"][0]["id"])
        with gateway.http("strange-reviewer") as http:
            gateway.judge(http.get("/v1/reviews").json()["data"][0]["id"], who="strange-reviewer")
        assert [each.result().status_code for each in held] == [200, 200]


def post(http: httpx2.Client, question: str, headers: dict[str, str], **body: object) -> httpx2.Response:
    """Asked again while the other one takes the only place."""
    asked = {"model": "countersign-reference", "messages": [{"role": "user", "content": question}], **body}
    with http:
        while (answer := http.post("/v1/chat/completions", json=asked, headers=headers)).status_code == 503:
            pass
    return answer


def count(database: Database) -> int:
    with database.read() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(interactions)).scalar_one())


async def test_who_leaves_the_line_as_a_place_is_given_back_takes_none_along() -> None:
    places = Places(most=1, most_per_key=9, most_waiting=2)
    async with places.place("key_a"):
        leaving, staying = (asyncio.ensure_future(entered(places)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()  # and before it runs again, the place goes past it to the next
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await staying == "key_b"
    assert await entered(places, "key_a") == "key_a"
