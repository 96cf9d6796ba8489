"""Runs a part of the product and kills it at a numbered durable step, without a change to the product's code.

`python -m tests.faults.crashing CONTROL -- gateway|worker`: when the file CONTROL appears, its number says how many
durable steps from then the process lives on. A step is each side of: a database's COMMIT, a command to Valkey, an
fsync. It dies by SIGKILL, between two of them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any


class Steps:
    """Counts down the durable steps of all threads together."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._left: int | None = None
        self._lock = threading.Lock()

    def reached(self, where: str) -> None:
        with self._lock:
            if self._left is None:
                self._left = self._armed()
            if self._left is None:
                return
            self._left -= 1
            if self._left <= 0:
                self._control.with_suffix(".died").write_text(where, encoding="utf-8")
                os.kill(os.getpid(), signal.SIGKILL)

    def _armed(self) -> int | None:
        try:
            number = int(self._control.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        self._control.unlink(missing_ok=True)
        return number


def around(steps: Steps, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """`act`, with a step before it and one after it."""

    @wraps(act)
    def stepping(*arguments: Any, **named: Any) -> Any:
        steps.reached(f"before {name}")
        result = act(*arguments, **named)
        steps.reached(f"after {name}")
        return result

    return stepping


def wrap_durable_steps(steps: Steps) -> None:
    import redis.connection
    from sqlalchemy.engine.default import DefaultDialect

    DefaultDialect.do_commit = around(steps, "COMMIT", DefaultDialect.do_commit)  # type: ignore[method-assign]
    for cls in (redis.connection.AbstractConnection, redis.connection.Connection):
        if "send_packed_command" in vars(cls):
            cls.send_packed_command = around(steps, "Valkey's command", cls.send_packed_command)  # type: ignore
    os.fsync = around(steps, "fsync", os.fsync)


def main(arguments: list[str]) -> None:
    control, separator, *command = arguments
    if separator != "--" or not command:
        raise SystemExit("usage: python -m tests.faults.crashing CONTROL -- gateway|worker")
    wrap_durable_steps(Steps(Path(control)))
    from gateway.command import main as countersign

    sys.argv = ["countersign", *command]
    countersign()


if __name__ == "__main__":
    main(sys.argv[1:])
