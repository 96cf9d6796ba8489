"""Knows which loopback ports are free, and which variable moves a busy one."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from collections.abc import Iterable

from launch.errors import CannotStart

LOOPBACK = "127.0.0.1"
CANDIDATES = range(11_000, 30_000)  # below what systems give to outgoing connections and Serve to its replicas


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
    """Distinct free ports, drawn by chance where no outgoing connection can take them before our servers do."""
    drawn = random.sample(CANDIDATES, len(CANDIDATES))
    found = list(itertools.islice((port for port in drawn if is_free(port)), count))
    if len(found) < count:
        raise CannotStart(
            f"Fewer than {count} ports of {CANDIDATES.start} to {CANDIDATES.stop} are free on {LOOPBACK}."
        )
    return found


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
