"""Answers a request that was sent before with the interaction it became: by its Idempotency-Key, or as a retry."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import orjson
import structlog
from starlette.requests import Request

from gateway.context import Context
from gateway.errors import ApiError, bad_request, not_found
from gateway.settings import Settings
from gateway.under_way import Answered
from storage import idempotency, interactions, retries
from storage.idempotency import Hold, InFlight, OtherBody, Replay
from storage.ids import new_id
from storage.records import Key, Outcome, Vouched

HEADER = "idempotency-key"
REPLAYED = {"idempotent-replayed": "true"}
NAME = re.compile(r"[\x21-\x7e]{1,255}")
LEASE_SECONDS = 15.0  # an attempt whose process died is taken over after this
RENEW_SECONDS = 4.0
PAUSE_SECONDS = 120.0  # the longest pause that a client makes before a retry
log = structlog.get_logger("idempotency")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending of a request, and by what others of the same request are known."""

    key: Key
    body_hash: str
    name: str | None  # the Idempotency-Key
    retry_count: int  # as the client counted
    window: float  # seconds within which its first sending may have been recorded
    began: float  # by the monotonic clock

    @property
    def mark(self) -> tuple[str, str] | None:
        """By what its retries are known; None: by its name alone."""
        return (self.key.id, self.body_hash) if self.name is None else None

    def sent(self, interaction_id: str) -> retries.Sent | None:
        """What storage looks for before it records it as `interaction_id`; None: its name decides."""
        if self.name is not None:
            return None
        seconds = monotonic() - self.began
        return retries.Sent(interaction_id, self.key.id, self.body_hash, self.retry_count, seconds, self.window)


def attempt_of(request: Request, key: Key, body: dict[str, Any], settings: Settings) -> Attempt:
    """Raises ApiError 400 for an Idempotency-Key that is none."""
    count = number(request.headers.get("x-stainless-retry-count"), 0.0)
    patience = number(request.headers.get("x-stainless-read-timeout"), math.inf)
    return Attempt(
        key=key,
        body_hash=hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        name=name_of(request),
        retry_count=int(min(count, 1000.0)),
        window=min(settings.retry_window_seconds, max(1.0, count) * (patience + PAUSE_SECONDS)),
        began=monotonic(),
    )


def number(text: str | None, otherwise: float) -> float:
    """What a client's header counts; a header that nobody needs to send is never a reason to refuse."""
    return float(text) if text and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else otherwise


def name_of(request: Request) -> str | None:
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1 or not NAME.fullmatch(given[0]):
        message = "Idempotency-Key: send it once, with 1 to 255 visible ASCII characters."
        raise bad_request("Idempotency-Key", message)
    return given[0]


async def known(context: Context, attempt: Attempt) -> Outcome | None:
    """What a retry was recorded as."""
    key, body_hash, window = attempt.key, attempt.body_hash, attempt.window
    return await context.recorder.read(
        lambda connection: interactions.get_outcome(
            connection, retries.recorded(connection, key.id, body_hash, window) or "", key.tenant
        ),
        tenant=key.tenant,
    )


async def begin(context: Context, attempt: Attempt) -> Hold | Outcome | None:
    """The right to record under the attempt's name, or what was recorded under it; None: it has no name.

    Raises ApiError 404 when that was deleted, 409 while another attempt is at work, 422 when the body is another.
    """
    name, key = attempt.name, attempt.key
    if name is None:
        return None
    owner, keep = new_id("try"), context.settings.idempotency_hours * 3600
    found = await context.recorder.write(
        lambda connection: idempotency.begin(connection, key, name, attempt.body_hash, owner, LEASE_SECONDS, keep),
        tenant=key.tenant,
    )
    match found:
        case Replay(interaction_id):
            return await replayed(context, interaction_id, key.tenant)
        case InFlight():
            raise in_flight()
        case OtherBody():
            message = "This Idempotency-Key was used for another request body; take a new one."
            raise ApiError(422, message, code="idempotency_key_reused", param="Idempotency-Key")
    return found


async def replayed(context: Context, interaction_id: str, tenant: str) -> Outcome:
    outcome = await context.recorder.read(
        lambda connection: interactions.get_outcome(connection, interaction_id, tenant), tenant=tenant
    )
    if outcome is None:
        raise not_found("completion", interaction_id)
    return outcome


def of_question(outcome: Outcome, key: Key, messages: tuple[dict[str, str], ...]) -> Outcome:
    """The outcome, withheld unless it is of this key's very question: names and hashes may be forged."""
    asked = outcome.interaction
    mine = asked.key_id == key.id and asked.messages == messages
    return outcome if mine else dataclasses.replace(outcome, vouched=Vouched.NOT)


async def once(
    request: Request, context: Context, attempt: Attempt, ask: Callable[[Hold | None], Awaitable[Answered]]
) -> Answered:
    """What was recorded for the request before, else what `ask` records now.

    Raises what `begin` and `ask` raise, and ApiError 499 when the caller goes away before the answer.
    """
    found = await begin(context, attempt)
    if isinstance(found, Outcome):
        return Answered(found, again=True)
    if (earlier := await attempted_before(request, context, attempt)) is not None:
        return earlier
    async with held(context, found, attempt.key.tenant):
        return await context.under_way.run(request, attempt.mark, lambda: ask(found))


async def attempted_before(request: Request, context: Context, attempt: Attempt) -> Answered | None:
    """What a retry without a name became when it was sent before, here or elsewhere; waits for it where it runs."""
    if attempt.mark is None or not attempt.retry_count:
        return None
    if (joined := await context.under_way.joined(request, attempt.mark)) is not None:
        return joined
    recorded = await known(context, attempt)
    return None if recorded is None else Answered(recorded, again=True)


@asynccontextmanager
async def held(context: Context, hold: Hold | None, tenant: str) -> AsyncIterator[None]:
    """Keeps the hold while the block runs; one that fails frees the name, so that a retry works."""
    if hold is None:
        yield
        return
    renewing = asyncio.ensure_future(keep(context, hold, tenant))
    try:
        yield
    except BaseException:
        await give_up(context, hold, tenant)
        raise
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def keep(context: Context, hold: Hold, tenant: str) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await context.recorder.write(
                lambda connection: idempotency.renew(connection, hold, LEASE_SECONDS), tenant=tenant
            )
        except ApiError:  # whether it still holds is found out when the answer is recorded
            log.warning("an idempotency lease could not be renewed")


async def give_up(context: Context, hold: Hold, tenant: str) -> None:
    try:
        await context.recorder.write(lambda connection: idempotency.abandon(connection, hold), tenant=tenant)
    except ApiError:
        log.warning("an idempotency lease ends by itself: the database does not answer")


def in_flight() -> ApiError:
    message = "A request with this Idempotency-Key is still under way; send it again shortly."
    return ApiError(409, message, code="idempotency_in_flight", headers={"retry-after": "1"})
