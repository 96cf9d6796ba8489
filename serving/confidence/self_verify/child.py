"""The process that checks answers: reads requests from its standard input, a socket, until it is closed.

It may be killed at any moment, holds nothing of value, and limits itself in case nobody is left to kill it.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from serving.answer import Step
from serving.confidence.self_verify.frames import HEAD, frame, length_of, rows_of
from serving.confidence.self_verify.unfinished import TOO_SLOW
from serving.confidence.self_verify.verify import steps

MEMORY_BYTES = 1 << 29  # of address space; with sympy it begins at a tenth of that
CPU_SECONDS = 2  # for one answer
_WARM_UP = ("Solve √(x + 2) = x.", "x + 2 = x^2\nx = 2")


class _TooSlow(BaseException):
    """Not an Exception, so that sympy cannot take it for one of its own."""


def main() -> None:
    """Answers requests until there are no more."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's to answer; it closes the socket
    steps(_WARM_UP[1], _WARM_UP[0], symbolic=True)  # sympy loads much of itself with its first equation
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    with socket.socket(fileno=sys.stdin.fileno()) as parent:
        parent.sendall(frame("ready"))
        for request in _requests(parent):
            _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + CPU_SECONDS)
            parent.sendall(frame(rows_of(checked(**request))))


def checked(text: str, question: str, seconds: float) -> tuple[Step, ...]:
    """The steps, with sympy's help where that is needed and comes in time."""
    found: tuple[Step, ...] = (Step(0, len(text), "unknown", TOO_SLOW),)
    try:
        with _at_most(seconds):
            found = steps(text, question)
            if any(step.state == "unknown" for step in found):
                found = steps(text, question, symbolic=True)
    except (_TooSlow, MemoryError):
        pass  # what there is by now
    return found


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _raise_too_slow)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise_too_slow(*_: object) -> None:
    raise _TooSlow


def _requests(parent: socket.socket) -> Iterator[dict[str, Any]]:
    while head := _read(parent, HEAD.size):
        yield json.loads(_read(parent, length_of(head)))


def _read(parent: socket.socket, size: int) -> bytes:
    """Empty when the parent has closed its end."""
    read = b""
    while len(read) < size:
        part = parent.recv(size - len(read))
        if not part:
            return b""
        read += part
    return read


def _limit(kind: int, most: int) -> None:
    """Only the soft limit: what a process may use grows with each answer."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
