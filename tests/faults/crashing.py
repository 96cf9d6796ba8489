"""Runs the product and kills it at a numbered durable step, without a change to the product's code.

`python -m tests.faults.crashing CONTROL -- gateway|worker`: when the file CONTROL appears, its number says how many
durable steps from then the process lives on. A step is each side of: a database's COMMIT after a write, a command to
Valkey, an fsync. It dies by SIGKILL, between two of them; a file .died beside CONTROL then says which step that was.
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

PRODUCT = ("gateway.", "storage.")
PASSAGES = frozenset({"storage.database", "storage.log_keys"})  # through which others commit and sync


class Steps:
    """Counts down the durable steps of all threads together."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._left: int | None = None
        self._lock = threading.Lock()

    def reached(self, where: str, more: Callable[[], str]) -> None:
        """`more` tells which of them it was."""
        with self._lock:
            if self._left is None:
                self._left = self._armed()
            if self._left is None:
                return
            self._left -= 1
            if self._left <= 0:
                self._control.with_suffix(".died").write_text(f"{where}{more()}", encoding="utf-8")
                os.kill(os.getpid(), signal.SIGKILL)

    def _armed(self) -> int | None:
        try:
            number = int(self._control.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        self._control.unlink(missing_ok=True)
        return number


def always() -> bool:
    return True


def around(
    steps: Steps, name: str, more: Callable[[], str], act: Callable[..., Any], counts: Callable[[], bool] = always
) -> Callable[..., Any]:
    """`act`, with a step before it and one after it, where it `counts`."""

    @wraps(act)
    def stepping(*arguments: Any, **named: Any) -> Any:
        if not counts():
            return act(*arguments, **named)
        steps.reached(f"before {name}", more)
        result = act(*arguments, **named)
        steps.reached(f"after {name}", more)
        return result

    return stepping


def on_the_stack() -> str:
    """The product's function that asked for the step, as module.function; empty when none did."""
    frame = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(PRODUCT) and module not in PASSAGES:
            return f" in {module}.{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


class Writes(threading.local):
    """The first write of each thread's transaction: what it is about. One that only read changes nothing."""

    first = ""

    def note(self, statement: str) -> None:
        words = statement.split(None, 3)
        if not self.first and words and words[0].upper() in ("INSERT", "UPDATE", "DELETE"):
            self.first = f" of {words[0].upper()} {words[1] if words[0].upper() == 'UPDATE' else words[2]}"

    def tell(self) -> str:
        return self.first

    def any(self) -> bool:
        return bool(self.first)


def wrap_durable_steps(steps: Steps) -> None:
    import redis.connection
    import sqlalchemy as sa
    from sqlalchemy.engine.default import DefaultDialect

    writes = Writes()

    def begun(_: Any) -> None:
        writes.first = ""

    def noted(_: Any, __: Any, statement: str, *___: Any) -> None:
        writes.note(statement)

    sa.event.listen(sa.Engine, "begin", begun)
    sa.event.listen(sa.Engine, "before_cursor_execute", noted)
    commit = around(steps, "COMMIT", writes.tell, DefaultDialect.do_commit, writes.any)
    DefaultDialect.do_commit = commit  # type: ignore[method-assign]
    for cls in (redis.connection.AbstractConnection, redis.connection.Connection):
        if "send_packed_command" in vars(cls):
            command = around(steps, "Valkey's command", on_the_stack, cls.send_packed_command)
            cls.send_packed_command = command  # type: ignore[method-assign]
    os.fsync = around(steps, "fsync", on_the_stack, os.fsync)


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
