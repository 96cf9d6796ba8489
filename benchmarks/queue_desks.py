"""Two ways into the product's claims: over HTTP to a gateway process, and straight into the code below HTTP."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import aiohttp

from benchmarks.queue_reviewers import Held
from gateway.access_log import AccessLog
from gateway.case_facts import CaseFacts
from gateway.claims import claim_most_urgent
from gateway.context import Context
from gateway.hints import Hints
from gateway.metrics import Metrics
from gateway.recorder import Recorder
from gateway.server import TURN_SECONDS
from gateway.settings import Settings
from gateway.worker import Worker
from storage import reviews
from storage.database import Database
from storage.errors import Conflict
from storage.records import Key, VerdictKind
from storage.review_queue import ReviewQueue


class HttpDesk:
    """As the dashboard: POST /v1/reviews/…, each reviewer with a key of their own."""

    def __init__(self, http: aiohttp.ClientSession, url: str, secrets: Sequence[str]) -> None:
        self._http, self._url = http, f"{url}/v1/reviews"
        self._headers = [{"authorization": f"Bearer {secret}"} for secret in secrets]

    async def claim(self, reviewer: int) -> Held | None:
        found = await self._post(reviewer, "claim", {})
        if found is None:
            return None
        return Held(found["id"], found["claim"]["fencing_token"], found["claim"]["expires_at"])

    async def approve(self, reviewer: int, held: Held) -> bool:
        body = {"fencing_token": held.token, "verdict": "approve", "reason": "", "content": None}
        return await self._post(reviewer, f"{held.item}/verdict", body) is not None

    async def give_back(self, reviewer: int, held: Held) -> bool:
        return await self._post(reviewer, f"{held.item}/release", {"fencing_token": held.token}) is not None

    async def _post(self, reviewer: int, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """None: nothing waits, or it was refused as too late."""
        async with self._http.post(f"{self._url}/{path}", json=body, headers=self._headers[reviewer]) as answer:
            if answer.status == 409 or (answer.status == 204 and path == "claim"):
                return None
            answer.raise_for_status()
            return {} if answer.status == 204 else dict(await answer.json())


class InnerDesk:
    """What those endpoints do, without HTTP: Valkey's hint, then SQL's lease, the case and its reading at once."""

    def __init__(self, context: Context, reviewers: Sequence[Key]) -> None:
        self._context, self._reviewers = context, reviewers

    async def claim(self, reviewer: int) -> Held | None:
        case = await claim_most_urgent(self._context, self._reviewers[reviewer], None)
        return None if case is None else Held(case.item.id, case.item.fencing_token, case.item.claim_expires_at or 0.0)

    async def approve(self, reviewer: int, held: Held) -> bool:
        key = self._reviewers[reviewer]
        return await self._write(
            key, lambda conn: reviews.decide(conn, held.item, key, held.token, VerdictKind.APPROVE, "", None)
        )

    async def give_back(self, reviewer: int, held: Held) -> bool:
        key = self._reviewers[reviewer]
        return await self._write(key, lambda conn: reviews.release_claim(conn, held.item, key, held.token))

    async def _write(self, key: Key, write: Any) -> bool:
        try:
            await self._context.recorder.write(write, tenant=key.tenant)
        except Conflict:
            return False
        return True


@asynccontextmanager
async def http_desk(url: str, secrets: Sequence[str]) -> AsyncIterator[HttpDesk]:
    connector = aiohttp.TCPConnector(limit=len(secrets), keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield HttpDesk(http, url, secrets)


@asynccontextmanager
async def inner_desk(settings: Settings, database: Database, reviewers: Sequence[Key]) -> AsyncIterator[InnerDesk]:
    """With a recorder and a worker of its own, as in a gateway."""
    queue, metrics = ReviewQueue(settings.redis, settings.queue_prefix), Metrics()
    recorder = Recorder(
        database, waiting=settings.recorder_queue, batch=settings.recorder_batch, readers=settings.reader_threads
    )
    worker = Worker(settings, database, queue, metrics)
    sys.setswitchinterval(TURN_SECONDS)
    recorder.start()
    worker.start()
    access, facts = AccessLog(recorder, settings.access_log_seconds), CaseFacts()
    shared = SimpleNamespace(
        settings=settings, recorder=recorder, access=access, facts=facts, hints=Hints(queue), metrics=metrics
    )
    try:
        yield InnerDesk(cast(Context, shared), reviewers)
    finally:
        worker.stop()
        recorder.close()
        queue.close()
