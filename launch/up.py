"""`./run up`: starts the product, asks a few questions, stays until Ctrl-C; `--check` proves the whole and stops."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from pydantic import ValidationError
from rich.console import Console

from launch.access import TENANT, Access
from launch.conversation import Asked, Conversation
from launch.errors import CannotStart
from launch.memory import measure
from launch.parts import dashboard_url
from launch.ports import free_ports
from launch.product import Product
from launch.questions import QUESTIONS
from launch.review_walk import walk
from launch.settings import LaunchSettings
from launch.view import View, show_addresses, show_answers, show_failure

BEGUN = time.monotonic()
CHECK_TENANT = "check"  # a database that DATABASE_URL names has reviewers of its own: they see nothing of this
_REMEMBER_SECONDS = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop(BaseException):
    """Someone asked for the end: Ctrl-C or SIGTERM. Not an Exception, so that no handler of errors swallows it."""


def main(arguments: list[str] | None = None) -> int:
    """0 after an orderly stop or a passed check, 1 when something could not start or the check failed."""
    parser = argparse.ArgumentParser(prog="./run up", description=__doc__)
    parser.add_argument("--check", action="store_true", help="on free ports and a temporary home: prove it, then stop")
    check = parser.parse_args(arguments).check
    console = Console(width=None if sys.stdout.isatty() else 120)
    _stop_on_signals()
    try:
        return run_check(LaunchSettings(), console) if check else run(LaunchSettings(), console, check=False)
    except Stop:
        return 1 if check else 0  # a check that was cut short has shown nothing
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        variable = name if name.isupper() else f"COUNTERSIGN_{name.upper()}"  # some have a name of their own
        show_failure(console, CannotStart(f"{variable} cannot be used: {first['msg'].removeprefix('Value error, ')}."))
        return 1
    except CannotStart as error:
        show_failure(console, error)
        return 1


def run_check(settings: LaunchSettings, console: Console) -> int:
    """The product in a temporary home. Of a check that failed the home is kept: its logs say why."""
    home = Path(tempfile.mkdtemp(prefix="countersign-"))
    logs = home / "logs"
    helpful = False
    try:
        return run(_apart(settings, home), console, check=True)
    except Exception as error:
        helpful = logs.is_dir()  # otherwise nothing was started
        if not isinstance(error, CannotStart):
            raise
        show_failure(console, error)
        return 1
    finally:
        if helpful:
            console.print(f"The logs are kept in {logs}.", highlight=False, soft_wrap=True, markup=False)
        else:
            shutil.rmtree(home, ignore_errors=True)


def run(settings: LaunchSettings, console: Console, *, check: bool) -> int:
    """Everything between the first process and the last; stops all of them however it ends."""
    view = View(console)
    product = Product(settings, view.report, CHECK_TENANT if check else TENANT)
    try:
        with view:  # a terminal that is gone makes even its end fail
            access = product.start()
        ready = time.monotonic() - BEGUN
        model, asked = ask_all(access)
        show_answers(console, asked)
        if check:
            prove(access, asked, console)
        console.print(f"ready after {ready:.1f} s; {measure(product.processes())}", highlight=False)
        if not check:
            show_addresses(console, access, dashboard_url(settings), model)
            console.print("Ctrl-C stops everything.")
            stay(product)
    finally:
        _heed_no_signals()
        if product.is_up:
            tell(console, "stopping …")
            product.stop()
            tell(console, "stopped: no process remains.")
    return 0


def tell(console: Console, line: str) -> None:
    """Prints, unless the terminal is gone: that must not keep anything from being stopped."""
    with contextlib.suppress(OSError):
        console.print(line)


def ask_all(access: Access) -> tuple[str, list[Asked]]:
    """The model's name, and what became of each question."""
    with Conversation(access) as conversation:
        return conversation.model(), [conversation.ask(question) for question in QUESTIONS]


def prove(access: Access, asked: list[Asked], console: Console) -> None:
    """Raises CannotStart unless some answer was released, some held, and one held answer goes the whole way."""
    held = [each for each in asked if each.held]
    if not held or len(held) == len(asked):
        raise CannotStart(f"The check failed: {len(held)} of {len(asked)} answers were held; some should be, not all.")
    with Conversation(access) as conversation:
        released = walk(access, conversation, held[-1])
    slowest = max(each.seconds for each in asked)
    console.print(f"held, claimed, approved, retrieved: {released.completion_id}", highlight=False)
    console.print(f"slowest one-line question: {slowest:.2f} s", highlight=False)


def stay(product: Product) -> None:
    """Until a signal comes. Raises CannotStart when a part ends by itself."""
    while True:
        deadline = time.monotonic() + _REMEMBER_SECONDS
        while time.monotonic() < deadline:
            if dead := product.dead_child():
                raise CannotStart(f"{dead.name} has ended: the last lines of {dead.log} say why.")
            time.sleep(0.5)
        product.remember_processes()


def _apart(settings: LaunchSettings, home: Path) -> LaunchSettings:
    """The same product where it can disturb nothing: free ports and a home of its own."""
    gateway, serving, dashboard = free_ports(3)
    return settings.model_copy(
        update={"home": home, "port": gateway, "serving_port": serving, "dashboard_port": dashboard}
    )


def _stop_on_signals() -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        _heed_no_signals()
        raise Stop

    for number in _SIGNALS:
        signal.signal(number, stop)


def _heed_no_signals() -> None:
    """Stopping is under way: a second Ctrl-C, or the terminal's end, must not tear it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
