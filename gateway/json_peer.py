"""Speaks JSON over HTTP with a model's server, and says what its failures mean to our caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from gateway.errors import ApiError, bad_request, unavailable

CONNECT_SECONDS = 5.0


class Lost(ApiError):
    """The generation died underway; asking again from the prompt may succeed."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message, code="rank_lost", headers={"retry-after": "1"})


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
        if code == "rank_lost":
            raise Lost("Part of the model was lost while it answered; ask again.")
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
            raise Lost("The connection to the model's server broke; ask again.") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def parsed(text: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
