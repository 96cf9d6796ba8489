"""What other processes decided is looked for once for all who wait, also after looks that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.errors import unavailable
from gateway.recorder import Recorder
from gateway.waiting import Bell, look_out
from storage import reviews
from storage.database import Database, open_database
from storage.records import Role
from tests.storage.conftest import VAULT
from tests.storage.made import held, key


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{home}/countersign.db", VAULT)
    yield opened
    opened.close()


class Looks:
    """A recorder that fails at first, then reads once and never again."""

    def __init__(self, recorder: Recorder, failures: list[Exception]) -> None:
        self._recorder, self._failures = recorder, failures
        self._read = False

    async def read(self, read: Any, *, always: bool) -> Any:
        if self._failures:
            raise self._failures.pop()
        if self._read:
            await asyncio.Event().wait()
        self._read = True
        return await self._recorder.read(read)


async def test_one_look_wakes_all_whose_answers_were_decided_and_nobody_else(database: Database) -> None:
    caller, bell = key(database, "chat", Role.CALLER), Bell()
    ended, waiting = [held(database, caller) for _ in range(3)], held(database, caller)
    with database.transaction() as conn:
        for item in ended:
            reviews.withdraw(conn, item.id, "key:x", "acme")
    recorder = Recorder(database, waiting=8, batch=8, readers=1)
    looks = Looks(recorder, [unavailable("Away.", "storage_unavailable"), RuntimeError("unforeseen")])
    with ExitStack() as stack:
        rung = [stack.enter_context(bell.heard(item.interaction_id)) for item in ended]
        other = stack.enter_context(bell.heard(waiting.interaction_id))
        looking = asyncio.create_task(look_out(bell, cast(Recorder, looks), 0.0))
        async with asyncio.timeout(20):
            await asyncio.gather(*(event.wait() for event in rung))
        assert not other.is_set()
        looking.cancel()
    recorder.close()
