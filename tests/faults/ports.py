"""Hands out ports that are still free when the server that listens there comes back from the dead."""

from __future__ import annotations

import os

from launch.ports import is_free

_candidates = iter(range(11_000 + os.getpid() % 9_000, 32_000))


def free_port() -> int:
    """Below the range from which the system takes the ports of outgoing connections. Never the same twice."""
    return next(port for port in _candidates if is_free(port))
