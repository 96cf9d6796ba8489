"""A Valkey that hangs delays one claim, and is asked again a little later."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.hints import AWAY_SECONDS, Hints
from storage.errors import QueueUnreachable
from storage.review_queue import ReviewQueue
from storage.review_reads import Waiting
from tests.gateway.hand_clock import HandClock


@contextmanager
def hung() -> Iterator[tuple[socket.socket, str]]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        yield server, f"redis://127.0.0.1:{server.getsockname()[1]}"


def connections(server: socket.socket) -> int:
    """Those that were made since it was asked last."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("ask", ["most_urgent", "forget"])
async def test_valkey_that_hangs_is_asked_by_one_claim_and_then_left_alone_for_a_while(ask: str) -> None:
    clock = HandClock()
    with hung() as (server, url):
        hints = Hints(queue := ReviewQueue(url, timeout_seconds=0.05), clock)

        async def asked() -> None:
            with pytest.raises(QueueUnreachable):
                await (hints.most_urgent("acme", 32, 0) if ask == "most_urgent" else hints.forget(["rev_1"], "acme"))

        await asked()
        assert connections(server) == 1
        clock.now += AWAY_SECONDS - 0.1
        await asked()
        assert connections(server) == 0
        clock.now += 0.2
        await asked()
        assert connections(server) == 1
        queue.close()


async def test_order_of_a_valkey_that_answers_is_told_each_time(valkey_url: str) -> None:
    queue = ReviewQueue(valkey_url, "hints")
    queue.rebuild([Waiting("rev_2", "acme", 2.0), Waiting("rev_1", "acme", 1.0)])
    hints = Hints(queue, HandClock())
    assert await hints.most_urgent("acme", 32, 0) == ["rev_1", "rev_2"]
    await hints.forget(["rev_1"], "acme")
    assert await hints.most_urgent("acme", 32, 0) == ["rev_2"]
    queue.close()
