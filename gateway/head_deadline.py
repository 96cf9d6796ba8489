"""Knows how long the head of a request may take to arrive; uvicorn itself would wait for it without end."""

from __future__ import annotations

from asyncio import Transport
from asyncio.events import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HeadDeadline(HttpToolsProtocol):
    """Closes a connection that brings no whole head within `head_seconds` of opening, or of a head's first byte."""

    head_seconds: float
    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._answering():  # empty lines begin no head, and end the wait for the next request all the same
            self._begin()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        self._end()
        super().on_headers_complete()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _begin(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.head_seconds, self._too_late)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self._answering():  # the next request's head may wait for this one's answer
            self._begin()
        else:
            self.transport.close()


def head_deadline(seconds: float) -> type[HeadDeadline]:
    """The protocol for `uvicorn.Config(http=…)`, which makes one for each connection."""

    class Bounded(HeadDeadline):
        head_seconds = seconds

    return Bounded
