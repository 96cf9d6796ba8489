"""Streams audit events out of the gateway: as many as there are, a page at a time in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.audit_filters import Marks, told, wanted
from gateway.auth import auditor, bearer, unauthorised
from gateway.context import context_of
from gateway.errors import ApiError, unavailable
from gateway.export_formats import FORMATS, Format
from gateway.openapi import ERRORS
from gateway.recorder import Recorder
from storage import audit_export, audit_log, keys
from storage.audit_query import Filters
from storage.errors import StorageError
from storage.records import Key

router = APIRouter(prefix="/v1/audit", tags=["audit"], responses=ERRORS)
MOST_AT_ONCE = 2  # exports under way in one gateway: more would keep its readers from everybody else
TAKE_SECONDS = 60.0  # a client that takes nothing for so long is let go
log = structlog.get_logger("export")


class Exported(Marks):
    """What is exported, and how it is written."""

    format: Literal["jsonl", "csv", "parquet"] = "jsonl"


@router.get("/export", response_class=Response)
async def export(request: Request, what: Annotated[Exported, Query()], key: Key = Depends(auditor)) -> Response:
    """Every event that fits, newest first, as one file; one that breaks off ends in a broken connection."""
    context = context_of(request)
    recorder, chosen = context.recorder, FORMATS[what.format]
    marks = wanted(what, words_kept=context.settings.full_text)
    slot = Slot(request)
    try:
        until = await recorder.write(lambda connection: note(connection, what, key), tenant=key.tenant)
    except BaseException:
        slot.give_back()
        raise
    fixed = dataclasses.replace(marks, until=until if marks.until is None else min(until, marks.until))
    name = f"audit-{datetime.fromtimestamp(until, UTC):%Y%m%dT%H%M%SZ}.{chosen.name}"
    pages = written(recorder, key.tenant, fixed, chosen, bearer(request))
    return Stream(pages, chosen.media_type, name, slot)


def note(connection: Connection, what: Exported, key: Key) -> float:
    """Records who takes what away, and returns when: the export holds what happened before."""
    data = told(what.model_dump(exclude_none=True))
    return audit_log.append(connection, "access.export", f"key:{key.id}", key.tenant, data={"export": data}).at


async def written(
    recorder: Recorder, tenant: str, filters: Filters, chosen: Format, secret: str
) -> AsyncIterator[bytes]:
    """The file in pieces; each page is read in a short transaction of its own, when the piece before was taken.

    Raises 401, which breaks the file off, once the key of this secret has ended.
    """
    writing, after, more = chosen.begin(), None, True

    def piece(connection: Connection, after: str | None) -> tuple[bytes, str | None]:
        rows, cursor = audit_export.page(connection, tenant, filters, after=after, limit=chosen.page)
        return writing.rows(rows), cursor

    while more:
        if await recorder.read(lambda connection: keys.by_secret(connection, secret), always=True) is None:
            raise unauthorised("The key has ended: the export breaks off.")
        read = partial(piece, after=after)
        data, after = await recorder.read(read, tenant=tenant)
        more = after is not None
        if data:
            yield data
    yield writing.end()


class Slot:
    """One of the exports that may be under way in this gateway. Raises ApiError 503 when there is none."""

    def __init__(self, request: Request) -> None:
        self._taken: set[Slot] = getattr(request.app.state, "exports", set())
        request.app.state.exports = self._taken
        if len(self._taken) >= MOST_AT_ONCE:
            raise unavailable("Other exports are under way; ask again when they are done.", "exports_busy", 10)
        self._taken.add(self)

    def give_back(self) -> None:
        self._taken.discard(self)


class Stream(Response):
    """Sends a file as fast as its taker takes it.

    When it breaks off, nothing says that it ended: the server then closes the connection in the middle of the chunked
    body, which every HTTP client reports.
    """

    def __init__(self, pieces: AsyncIterator[bytes], media_type: str, name: str, slot: Slot) -> None:
        super().__init__(media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'})
        del self.headers["content-length"]  # nobody knows it yet
        self._pieces, self._slot = pieces, slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for piece in self._pieces:
                if await request.is_disconnected():
                    return
                async with asyncio.timeout(TAKE_SECONDS):  # of waiting for the client: the piece is there
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (ApiError, StorageError, SQLAlchemyError, TimeoutError) as error:
            log.error("export broke off", error=type(error).__name__, detail=str(error)[:200])
        finally:
            self._slot.give_back()
