"""Speaks JSON over HTTP with a model's server, and says what its failures mean to our caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import orjson

from gateway.errors import ApiError, bad_request, unavailable
from storage.storable import has_nul

CONNECT_SECONDS = 5.0
DESCRIPTION_SECONDS = 3.0  # a server tells what it serves without computing: one that takes longer hangs
MOST_ASKS = 5
LONGEST_PAUSE_SECONDS = 1.0
LOST_CODES = ("rank_lost", "starting")
Result = TypeVar("Result")


class Lost(ApiError):
    """The generation died underway, or its server is being repaired; asking again from the prompt may succeed."""

    def __init__(self, code: str = "rank_lost", retry_after: str | None = None) -> None:
        message = "The model's server was lost while it answered; ask again."
        super().__init__(503, message, code=code, headers={"retry-after": retry_after or "1"})

    @property
    def pause_seconds(self) -> float:
        told = self.headers["retry-after"]
        return min(float(told), LONGEST_PAUSE_SECONDS) if told.isdigit() else LONGEST_PAUSE_SECONDS


async def ask_again(ask: Callable[[], Awaitable[Result]], seconds: float) -> Result:
    """What `ask` returns, asked again from the beginning while it is Lost: generations are never spliced.

    Raises Lost after a few times, and ApiError 504 after `seconds` over all of them.
    """
    try:
        async with asyncio.timeout(seconds):
            for _ in range(MOST_ASKS - 1):
                try:
                    return await ask()
                except Lost as lost:
                    await asyncio.sleep(lost.pause_seconds)
            return await ask()
    except TimeoutError:
        raise ApiError(504, "The model did not answer in time.", code="model_timeout") from None


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: dict[str, Any]  # empty when the server sent no JSON object
    retry_after: str | None

    @property
    def error(self) -> dict[str, Any]:
        error = self.body.get("error")
        return error if isinstance(error, dict) else {}

    @property
    def error_code(self) -> str:
        return str(self.error.get("code") or "serving_error")

    def body_or_raise(self) -> dict[str, Any]:
        """The body of a 200; raises the ApiError that another status means: the server's own words only for 400."""
        if self.status == 200:
            return self.body
        code, headers = self.error_code, {"retry-after": self.retry_after or "1"}
        if self.status == 400:
            message = str(self.error.get("message") or "The model's server refused the question.")
            raise bad_request(self.error.get("param"), message, code)
        if self.status == 429:
            raise ApiError(429, "The model is busy; ask again shortly.", code=code, headers=headers)
        if self.status == 413:
            raise ApiError(413, "The messages are larger than the model's server takes.", code=code, param="messages")
        if code in LOST_CODES or (self.status >= 500 and not self.error):  # without our body: a proxy speaks
            raise Lost(code, self.retry_after)
        raise ApiError(503, "The model's server cannot answer now.", code=code, headers=headers)


class JsonPeer:
    """One server, with a pool of connections that opens on first use."""

    def __init__(self, url: str, token: str, timeout_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._headers = {"content-type": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=CONNECT_SECONDS)
        self._session: aiohttp.ClientSession | None = None

    async def describe(self, path: str) -> dict[str, Any]:
        """What the server tells of itself there; raises ApiError 503 or 504, also when it takes longer than that."""
        try:
            async with asyncio.timeout(DESCRIPTION_SECONDS):
                return (await self.send("GET", path)).body_or_raise()
        except TimeoutError:
            raise unavailable("The model's server does not tell what it serves.", "serving_unreachable") from None

    async def send(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Raises Lost when the connection broke underway, ApiError 503 or 504 when nothing answers."""
        if self._session is None:
            # no limit here: how many may ask at once is serving's own decision
            self._session = aiohttp.ClientSession(timeout=self._timeout, connector=aiohttp.TCPConnector(limit=0))
        data = None if body is None else orjson.dumps(body)
        sent = {**self._headers, **(headers or {})}
        try:
            async with self._session.request(method, self._url + path, data=data, headers=sent) as response:
                text = await response.read()
                return Reply(response.status, parsed(text), response.headers.get("retry-after"))
        except aiohttp.ConnectionTimeoutError:
            raise unavailable("The model's server cannot be reached.", "serving_unreachable") from None
        except TimeoutError:
            raise ApiError(504, "The model did not answer in time.", code="model_timeout") from None
        except aiohttp.ClientConnectorError:
            raise unavailable("The model's server cannot be reached.", "serving_unreachable") from None
        except aiohttp.ClientError:
            raise Lost from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def parsed(text: bytes) -> dict[str, Any]:
    """The JSON object in it; empty when there is none, or one with a NUL, which no record could keep."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) and not has_nul(text.decode()) else {}
