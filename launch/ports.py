"""Knows which loopback ports are free, and which variable moves a busy one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

from launch.errors import CannotStart

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen there now (addresses in TIME_WAIT count as free, as they do for servers)."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Distinct free ports; all are held open until the last is found, so none is given twice."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def require_free(wanted: Iterable[tuple[str, int, str]]) -> None:
    """Each is (what, port, variable). Raises CannotStart naming the first busy port and how to move it."""
    taken: dict[int, str] = {}
    for what, port, variable in wanted:
        if port in taken:
            raise CannotStart(f"{what} and {taken[port]} were both given port {port}; set {variable} to another one.")
        taken[port] = what
        if not is_free(port):
            raise CannotStart(
                f"Port {port} for {what} is busy: stop what listens on {LOOPBACK}:{port}, "
                f"or choose another port with {variable}."
            )
