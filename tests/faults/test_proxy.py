"""The proxy passes bytes on, and does to them what it says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.proxy import Proxy


class Echo:
    """A server that repeats what it hears and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self._news = asyncio.Condition()

    async def serve(self, reader, writer) -> None:
        while chunk := await reader.read(1024):
            async with self._news:
                self.heard += chunk
                self._news.notify_all()
            writer.write(chunk)
        writer.close()

    async def has_heard(self, words: bytes) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self.heard == words)


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[Echo, Proxy]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    proxy = await Proxy("echo", ("127.0.0.1", server.sockets[0].getsockname()[1])).start()
    try:
        yield echo, proxy
    finally:
        await proxy.stop()
        server.close()


async def connected(proxy: Proxy):
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_what_is_said_comes_back():
    async with echoing() as (_, proxy):
        reader, writer = await connected(proxy)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert (proxy.connections, proxy.troubled) == (1, 0)


async def test_a_cut_resets_the_connection_and_the_next_one_works():
    async with echoing() as (_, proxy):
        reader, writer = await connected(proxy)
        writer.write(b"hello")
        await reader.readexactly(5)
        assert proxy.cut() == 1
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)  # an orderly end would raise IncompleteReadError
        reader, writer = await connected(proxy)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"


async def test_lost_replies_were_acted_upon():
    async with echoing() as (echo, proxy):
        reader, writer = await connected(proxy)
        async with proxy.losing_replies():
            writer.write(b"INCR")
            await echo.has_heard(b"INCR")
            await asyncio.sleep(0.05)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(4)
        assert echo.heard == b"INCR"
        assert proxy.troubled == 1


async def test_a_black_hole_lets_nothing_pass_and_ends_with_a_cut():
    async with echoing() as (echo, proxy):
        reader, writer = await connected(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        async with proxy.black_hole():
            writer.write(b"b")
            await asyncio.sleep(0.1)
            assert echo.heard == b"a"
            assert proxy.troubled == 1
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


async def test_a_delay_holds_each_chunk_back():
    async with echoing() as (_, proxy):
        reader, writer = await connected(proxy)
        async with proxy.delayed(0.2):
            began = asyncio.get_running_loop().time()
            writer.write(b"slow")
            assert await reader.readexactly(4) == b"slow"
            assert asyncio.get_running_loop().time() - began >= 0.4  # there and back
            assert proxy.troubled == 2


async def test_half_closed_towards_the_caller_it_still_hears_the_caller():
    async with echoing() as (echo, proxy):
        reader, writer = await connected(proxy)
        writer.write(b"a")
        await reader.readexactly(1)
        assert proxy.half_close() == 1
        assert await reader.read() == b""
        writer.write(b"b")
        await echo.has_heard(b"ab")


async def test_a_new_target_holds_for_new_connections():
    async with echoing() as (first, proxy), echoing() as (second, other):
        proxy.target = other.target
        reader, writer = await connected(proxy)
        writer.write(b"moved")
        assert await reader.readexactly(5) == b"moved"
        assert (first.heard, second.heard) == (b"", b"moved")


async def test_nobody_behind_it_is_a_reset():
    proxy = await Proxy("nobody", ("127.0.0.1", 1)).start()
    reader, _ = await connected(proxy)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    await proxy.stop()
