"""Carries messages between driver and rank over an AF_UNIX stream: a kind, a length, the bytes; never pickles."""

from __future__ import annotations

import socket
import struct
from enum import IntEnum

_HEADER = struct.Struct("<II")  # kind, length in bytes
_LONGEST = 1 << 30  # bytes; a longer message means the stream is out of step


class Kind(IntEnum):
    HELLO = 1  # rank → driver: JSON about the rank, sent once when it is ready
    PLAN = 2  # driver → rank: serving.engine.plan
    ANSWER = 3  # rank → driver: serving.engine.plan
    FAULT = 4  # rank → driver: one sentence in UTF-8, then the rank ends


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One connected socket; a message is sent and received whole."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: Kind, payload: bytes) -> None:
        """Raises ChannelClosed, or TimeoutError past the socket's limit."""
        try:
            self._socket.sendall(_HEADER.pack(kind, len(payload)) + payload)
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self) -> tuple[Kind, bytes]:
        """Waits without using the processor. Raises ChannelClosed at its end, TimeoutError past the limit."""
        kind, length = _HEADER.unpack(self._exactly(_HEADER.size))
        if length > _LONGEST:
            raise ChannelClosed(f"a message of {length} bytes was announced")
        return Kind(kind), self._exactly(length)

    def set_time_limit(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._socket.close()

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
