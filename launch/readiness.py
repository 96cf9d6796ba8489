"""Waits until parts answer at their readiness address, and says why one never will."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

from launch.children import Child
from launch.errors import CannotStart, ChildDied

_LOOKS_PER_SECOND = 10
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is never reached through a proxy


def answers(url: str, token: str = "") -> bool:
    """Whether a GET is answered 200 now."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - a loopback address of our own
        with _DIRECT.open(request, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def wait_until_ready(
    waiting: Mapping[Child, Callable[[], bool]], seconds: float, on_ready: Callable[[Child], None]
) -> None:
    """Returns when each child's check has held once.

    Raises ChildDied with its last log lines when one ends first, CannotStart when `seconds` pass.
    """
    deadline = time.monotonic() + seconds
    left = dict(waiting)
    while left:
        for child, ready in list(left.items()):
            require_alive(child)
            if ready():
                on_ready(child)
                del left[child]
        if left and time.monotonic() > deadline:
            slow = next(iter(left))
            raise CannotStart(
                f"{slow.name} was not ready after {seconds:.0f} s: read {slow.log}, "
                "or give it longer with COUNTERSIGN_START_SECONDS."
            )
        time.sleep(1 / _LOOKS_PER_SECOND)


def require_alive(child: Child) -> None:
    """Raises ChildDied when the process has ended."""
    status = child.process.poll()
    if status is None:
        return
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    raise ChildDied(
        child.name, f"{child.name} {how} while it was starting: its last lines are above, all of them in {child.log}.",
        child.tail(),
    )  # fmt: skip
