"""A TCP proxy that stands between two parts and cuts, delays, half-closes, swallows and loses what passes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CHUNK = 65_536  # bytes read at a time

Address = tuple[str, int] | Path  # TCP, or a unix socket's path


@dataclass(eq=False)
class Wire:
    """One accepted connection and the one made for it."""

    near: asyncio.StreamWriter  # towards whoever connected
    far: asyncio.StreamWriter  # towards the target

    def abort(self) -> None:
        """Both ends see a reset, whatever is still in buffers."""
        for writer in (self.near, self.far):
            with suppress(OSError, RuntimeError, AttributeError):
                reset = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # struct linger {on, 0 seconds}: RST instead of FIN
                writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.transport.abort()


class Proxy:
    """Listens on a loopback port of its own; `target` may be changed at any time and holds for new connections."""

    def __init__(self, name: str, target: Address) -> None:
        self.name, self.target = name, target
        self.port = 0
        self.refusing = False  # new connections are reset
        self.troubled = 0  # pieces that were delayed, held back or lost, and connections that were forgotten
        self._delay = 0.0  # seconds that each chunk waits, both ways
        self._open = asyncio.Event()  # cleared: nothing passes, nothing is lost
        self._losing = False  # what the target says is thrown away
        self._wires: set[Wire] = set()
        self._server: asyncio.Server | None = None
        self._open.set()

    async def start(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        self._open.set()
        await asyncio.sleep(0)

    @property
    def connections(self) -> int:
        return len(self._wires)

    def cut(self) -> int:
        """Resets every connection; returns how many there were."""
        wires = list(self._wires)
        for wire in wires:
            wire.abort()
        return len(wires)

    def half_close(self) -> int:
        """Says end-of-stream to whoever connected, on every connection, and goes on listening to them."""
        said = 0
        for wire in list(self._wires):
            with suppress(OSError, RuntimeError):
                wire.near.write_eof()
                said += 1
        return said

    @asynccontextmanager
    async def delayed(self, seconds: float) -> AsyncIterator[None]:
        """Each chunk waits `seconds`."""
        self._delay = seconds
        try:
            yield
        finally:
            self._delay = 0.0

    @asynccontextmanager
    async def black_hole(self) -> AsyncIterator[None]:
        """Nothing passes either way; at the end the connections are cut, as by a firewall that forgot them."""
        self._open.clear()
        try:
            yield
        finally:
            self.troubled += self.cut()
            self._open.set()

    @asynccontextmanager
    async def losing_replies(self) -> AsyncIterator[None]:
        """Requests arrive and are acted upon; their replies are lost, and at the end the connections are cut."""
        self._losing = True
        try:
            yield
        finally:
            self.cut()
            self._losing = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await _connect(self.target)
        except OSError:
            writer.transport.abort()
            return
        wire = Wire(writer, far_writer)
        self._wires.add(wire)
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, replies=False), self._pump(far_reader, writer, replies=True)
            )
        except (OSError, RuntimeError):
            pass
        finally:
            self._wires.discard(wire)
            wire.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        while chunk := await reader.read(CHUNK):
            lost = replies and self._losing
            self.troubled += bool(self._delay) or lost or not self._open.is_set()
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._open.wait()
            if replies and self._losing:
                continue
            writer.write(chunk)
            await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.write_eof()


async def _connect(target: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(target, Path):
        return await asyncio.open_unix_connection(str(target))
    return await asyncio.open_connection(*target)
