"""Finds loopback ports for the servers that one serving application starts."""

from __future__ import annotations

import random
import socket

# Below the ports that systems give to outgoing connections (32768 and up on Linux, any of which may go in the moment
# between our look and the server's) and below those that Serve gives to replicas (30000 and up).
CANDIDATES = range(11_000, 30_000)


def free_port() -> int:
    """A port nothing listens on now, drawn by chance so that two starts at once draw different ones. Raises OSError."""
    for port in random.sample(CANDIDATES, len(CANDIDATES)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"No port of {CANDIDATES.start} to {CANDIDATES.stop} is free on 127.0.0.1.")
