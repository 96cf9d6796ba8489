"""Carries messages between driver and rank over an AF_UNIX stream: kind, length, epoch, the bytes; never pickles."""

from __future__ import annotations

import select
import socket
import struct
from collections import deque
from enum import IntEnum

_HEADER = struct.Struct("<IIQ")  # kind, length in bytes, epoch
_LONGEST = 1 << 30  # bytes; a longer message means the stream is out of step


class Kind(IntEnum):
    HELLO = 1  # rank → driver: its process id as JSON, sent once when it could take a place
    PLAN = 2  # driver → rank: serving.engine.plan
    ANSWER = 3  # rank → driver: serving.engine.plan
    FAULT = 4  # rank → driver: serving.engine.fault; the rank then waits for another epoch, or ends
    VOID = 5  # driver → rank: the former epoch is over, with all its sequences
    SEAT = 6  # driver → rank: its number and the placement in force as JSON; it loads its shard
    JOIN = 7  # driver → rank: JSON that names the exchange of this epoch and the version of the placement in force
    DONE = 8  # rank → driver: the last VOID, SEAT (with JSON about the shard) or JOIN has been obeyed
    MOVE = 9  # driver → rank: a placement as JSON to load for beside the steps; the one in force: load nothing more
    READY = 10  # rank → driver, before an ANSWER: serving.engine.placed.Readiness for the last MOVE


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One connected socket; a message is sent and received whole.

    Each message bears the epoch its sender is in. One of an earlier epoch than the receiver's own is dropped unread;
    one of a later epoch takes the receiver along: the driver alone begins epochs.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.epoch = 0
        self._ahead: deque[tuple[Kind, int, bytes]] = deque()  # came while this side was at work: with their epochs
        self._kept = bytearray()  # messages to be sent
        self._look = select.poll()
        self._look.register(connection, select.POLLIN)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: Kind, payload: bytes) -> None:
        """With what is kept. Raises ChannelClosed, or TimeoutError past the socket's limit."""
        self.keep(kind, payload)
        self.send_kept()

    def keep(self, kind: Kind, payload: bytes) -> None:
        """Sent with the next one: whom a message wakes is woken once for all."""
        self._kept += _HEADER.pack(kind, len(payload), self.epoch) + payload

    def send_kept(self) -> None:
        """Raises like `send`."""
        if not self._kept:
            return
        kept, self._kept = self._kept, bytearray()
        try:
            self._socket.sendall(kept)
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self) -> tuple[Kind, bytes]:
        """Waits without using the processor. Raises ChannelClosed at its end, TimeoutError past the limit."""
        while True:
            kind, epoch, payload = self._ahead.popleft() if self._ahead else self._next()
            if epoch >= self.epoch:
                self.epoch = epoch
                return kind, payload

    def has_more(self) -> bool:
        """Whether a message waits to be received, or the end of the stream."""
        return bool(self._ahead or self._look.poll(0))

    def called_away(self) -> bool:
        """Whether a later epoch's message, or the end of the stream, waits to be received; does not wait itself.

        Plans of this epoch may wait too, where several steps are in flight: they are kept until they are received, or
        a later epoch has begun.
        """
        try:
            while self._look.poll(0):
                self._ahead.append(self._next())
        except ChannelClosed:
            return True
        newest = max((epoch for _, epoch, _ in self._ahead), default=self.epoch)
        if newest <= self.epoch:
            return False
        self._ahead = deque(message for message in self._ahead if message[1] == newest)
        return True

    def set_time_limit(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._socket.close()

    def _next(self) -> tuple[Kind, int, bytes]:
        kind, length, epoch = _HEADER.unpack(self._exactly(_HEADER.size))
        if length > _LONGEST:
            raise ChannelClosed(f"a message of {length} bytes was announced")
        return Kind(kind), epoch, self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        parts, missing = [], length
        while missing:
            try:
                part = self._socket.recv(missing)
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not part:
                raise ChannelClosed("end of stream")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def connect(path: str, seconds: float) -> Channel:
    """Raises OSError when nobody listens at `path`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(seconds)
    connection.connect(path)
    connection.settimeout(None)
    return Channel(connection)
