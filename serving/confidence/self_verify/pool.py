"""Has answers checked in subprocesses that are killed when they take too long; the event loop never waits for one."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from serving.answer import Step
from serving.confidence.self_verify import limits
from serving.confidence.self_verify.frames import HEAD, BrokenFrame, frame, length_of, steps_of
from serving.confidence.self_verify.unfinished import BUSY, DIED, TOO_SLOW

log = logging.getLogger(__name__)

SECONDS = 0.25  # for one answer, waiting included
START_SECONDS = 60.0
_CHILD_SHARE = 0.7  # of the time that is left; a child that stops by itself need not be killed and started again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts to start a child


@dataclass(eq=False, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    socket: socket.socket  # non-blocking


class SelfVerifier:
    """A few child processes, each with one answer at a time. Belongs to the event loop that started it."""

    def __init__(self, children: int = 1, seconds: float = SECONDS, command: Sequence[str] | None = None) -> None:
        self._count, self.seconds = children, seconds
        self._command = command or (sys.executable, "-m", "serving.confidence.self_verify.child")
        self._idle: asyncio.Queue[_Child] = asyncio.Queue()
        self._children: set[_Child] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> SelfVerifier:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that are there, those about to end among them."""
        return tuple(child.process.pid for child in self._children)

    async def start(self) -> None:
        """Returns when a first child is ready. Raises OSError, TimeoutError or BrokenFrame where none can be."""
        try:
            await asyncio.shield(self._later(self._add_ready_child()))
        except BaseException:
            await self.close()
            raise
        for _ in range(self._count - 1):
            self._later(self._add_child())

    async def steps(self, question: str, text: str) -> tuple[Step, ...]:
        """What verify.steps says of an answer, or within `seconds` one unknown step that says why there is nothing.

        Raises nothing but CancelledError.
        """
        if not text:
            return ()
        deadline = asyncio.get_running_loop().time() + self.seconds
        try:
            async with asyncio.timeout_at(deadline):
                child = await self._idle.get()
        except TimeoutError:
            return _unknown(text, BUSY)
        answered = False
        try:
            async with asyncio.timeout_at(deadline):
                found = await _exchange(child, question, text, deadline)
            answered = True
            return found
        except TimeoutError:
            return _unknown(text, TOO_SLOW)
        except (OSError, BrokenFrame):
            return _unknown(text, DIED)
        finally:
            if answered:
                self._idle.put_nowait(child)
            else:  # also when the caller gave up: its answer must not be read as the next one's
                self._replace(child)

    async def close(self) -> None:
        """Ends every child and waits until none is left."""
        self._closing.set()
        while self._tasks or self._children:
            await asyncio.gather(*(self._end(child) for child in tuple(self._children)))
            if self._tasks:
                await asyncio.wait(tuple(self._tasks), return_when=asyncio.FIRST_COMPLETED, timeout=0.1)

    def _replace(self, child: _Child) -> None:
        child.process.kill()  # at once: whatever it does, it does with the cores that answers are made on
        self._later(self._end(child))
        self._later(self._add_child())

    def _later(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _add_child(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing.is_set():
            try:
                await self._add_ready_child()
                break
            except (OSError, TimeoutError, BrokenFrame) as error:
                if self._closing.is_set():
                    break
                log.warning("self_verify.no_child: %r; again in %.1f s", error, pause)
            try:
                await asyncio.wait_for(self._closing.wait(), pause)
            except TimeoutError:
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _add_ready_child(self) -> None:
        child = await asyncio.to_thread(_spawn, self._command)
        self._children.add(child)
        try:
            if self._closing.is_set():
                raise BrokenFrame("closing")
            async with asyncio.timeout(START_SECONDS):
                await _read(child.socket)
        except BaseException:
            await self._end(child)
            raise
        self._idle.put_nowait(child)

    async def _end(self, child: _Child) -> None:
        child.process.kill()
        await asyncio.to_thread(child.process.wait)  # it is dead: this only takes it off the process table
        child.socket.close()
        self._children.discard(child)


def _spawn(command: Sequence[str]) -> _Child:
    """Blocks for some milliseconds. The child sees nothing of this process's environment, so none of its secrets."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    environment = {"PATH": os.defpath, "PYTHONPATH": path, "PYTHONUTF8": "1"}
    try:
        process = subprocess.Popen(  # noqa: S603  # our own module by our own interpreter
            command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return _Child(process, ours)


async def _exchange(child: _Child, question: str, text: str, deadline: float) -> tuple[Step, ...]:
    loop = asyncio.get_running_loop()
    read = limits.CHARACTERS + 1  # one more than is looked at, so that the child sees that there is more
    seconds = max(0.0, deadline - loop.time()) * _CHILD_SHARE
    await loop.sock_sendall(child.socket, frame({"question": question[:read], "text": text[:read], "seconds": seconds}))
    found = steps_of(await _read(child.socket))
    if len(text) > read and found and found[-1].end == read:
        return (*found[:-1], replace(found[-1], end=len(text)))
    return found


async def _read(connection: socket.socket) -> bytes:
    """One message. Raises BrokenFrame at its end."""
    return await _exactly(connection, length_of(await _exactly(connection, HEAD.size)))


async def _exactly(connection: socket.socket, size: int) -> bytes:
    read = bytearray()
    while len(read) < size:
        part = await asyncio.get_running_loop().sock_recv(connection, size - len(read))
        if not part:
            raise BrokenFrame("the connection was closed")
        read += part
    return bytes(read)


def _unknown(text: str, why: str) -> tuple[Step, ...]:
    return (Step(0, len(text), "unknown", why),)
