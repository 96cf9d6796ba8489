"""The loop's caller asks over real HTTP, waits when told to, and learns each decision and each held text."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from benchmarks.loop_caller import LoopFailed, Outcome, ask_all
from tests.benchmarks.gateway_double import KEY, REVIEWER_KEY, GatewayDouble


@asynccontextmanager
async def serving(double: GatewayDouble) -> AsyncIterator[str]:
    runner = web.AppRunner(double.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asked(double: GatewayDouble, questions: list[str], told: Callable[[], None] = lambda: None) -> list[Outcome]:
    async with serving(double) as url:
        return await ask_all(url, KEY, REVIEWER_KEY, questions, told)


async def test_outcomes_come_in_the_order_of_the_questions_with_their_decisions_and_texts() -> None:
    told: list[None] = []
    outcomes = await asked(GatewayDouble(), ["easy 1", "hard 2", "easy 3"], lambda: told.append(None))
    assert [outcome.text for outcome in outcomes] == ["ok: easy 1", "held: hard 2", "ok: easy 3"]
    assert [outcome.action for outcome in outcomes] == ["release", "hold", "release"]
    assert [outcome.confidence for outcome in outcomes] == [0.9, 0.3, 0.9]
    assert len(told) == 3


async def test_decisions_are_read_over_many_pages() -> None:
    outcomes = await asked(GatewayDouble(page=7), [f"easy {n}" for n in range(100)])
    assert [outcome.text for outcome in outcomes] == [f"ok: easy {n}" for n in range(100)]


async def test_a_busy_gateway_is_asked_again() -> None:
    double = GatewayDouble(busy=4)
    assert len(await asked(double, ["easy 1", "hard 2"])) == 2
    assert len(double.asked) == 2


async def test_a_gateway_that_stays_busy_ends_the_loop() -> None:
    with pytest.raises(LoopFailed, match="429: busy"):
        await asked(GatewayDouble(busy=10_000), ["easy 1"])


async def test_a_refused_question_ends_the_loop_with_what_the_gateway_said() -> None:
    with pytest.raises(LoopFailed, match="400: no such thing"):
        await asked(GatewayDouble(), ["easy 1", "broken 2"])


async def test_a_decision_that_the_audit_log_lacks_ends_the_loop() -> None:
    with pytest.raises(LoopFailed, match="2 of 3"):
        await asked(GatewayDouble(forgets=True), ["easy 1", "easy 2", "easy 3"])


async def test_a_wrong_key_ends_the_loop() -> None:
    async with serving(GatewayDouble()) as url:
        with pytest.raises(LoopFailed, match="401: bad key"):
            await ask_all(url, "csk_wrong", REVIEWER_KEY, ["easy 1"], lambda: None)


async def test_a_reviewer_key_that_asked_itself_learns_no_held_text_and_ends_the_loop() -> None:
    async with serving(GatewayDouble()) as url:
        with pytest.raises(LoopFailed, match=r"rev_0 .* shows no text"):
            await ask_all(url, KEY, KEY, ["hard 1"], lambda: None)
