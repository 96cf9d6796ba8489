"""No process outlives its launch: not a stubborn one, not an orphan, not after kill -9 of the launcher."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap

import psutil
import pytest

from launch.children import MARK, adopt_orphans, ask_to_end, end_processes, family, start_child
from launch.errors import ChildDied
from launch.readiness import require_alive, wait_until_ready

PYTHON = sys.executable
# leaves a grandchild in a session of its own, as a daemon would, and says its pid
DAEMON = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
{then}
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def said(child) -> list[str]:
    """What the child has printed, once it has printed anything or ended."""
    with contextlib.suppress(ChildDied):
        wait_until_ready({child: lambda: bool(child.tail())}, 30, lambda _: None)
    return list(child.tail())


@pytest.fixture
def start(tmp_path):
    mark = os.urandom(8).hex()
    children = []

    def run(code: str):
        environment = {**os.environ, MARK: mark}
        child = start_child("part", [PYTHON, "-u", "-c", code], environment, tmp_path / "logs" / "part.log")
        children.append(child)
        return child

    run.mark = mark
    run.family = lambda: family(children, mark)
    adopt_orphans()
    yield run
    assert end_processes(run.family, 0) == []


def test_a_process_that_ignores_sigterm_is_killed(start):
    child = start(STUBBORN)
    said(child)
    ask_to_end(child)
    assert end_processes(start.family, 0.3) == []
    assert not psutil.pid_exists(child.pid)


def test_a_daemonised_grandchild_is_found_and_stopped(start):
    child = start(DAEMON.format(then="time.sleep(600)"))
    grandchild = int(said(child)[0])
    assert grandchild in {process.pid for process in start.family()}
    ask_to_end(child)
    assert end_processes(start.family, 0.3) == []
    assert not psutil.pid_exists(grandchild)


def test_an_orphan_is_found_after_its_parent_has_ended(start):
    child = start(DAEMON.format(then="sys.exit(0)"))
    grandchild = int(said(child)[0])
    child.process.wait()
    assert grandchild in {process.pid for process in start.family()}
    assert end_processes(start.family, 0) == []
    assert not psutil.pid_exists(grandchild)


def test_an_orderly_child_is_given_time_to_end_by_itself(start):
    child = start(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('tidied', flush=True), sys.exit(0)))\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    said(child)
    ask_to_end(child)
    assert end_processes(start.family, 30) == []
    assert child.tail()[-1] == "tidied"


def test_a_child_that_dies_while_starting_is_reported_with_its_last_lines(start):
    child = start("print('before'); raise SystemExit('the reason')")
    with pytest.raises(ChildDied) as error:
        wait_until_ready({child: lambda: False}, 30, lambda _: None)
    assert error.value.tail[-1] == "the reason"
    assert "ended with status 1" in str(error.value)


def test_the_last_lines_are_those_of_this_start(start):
    said(start("print('the first start')"))
    child = start("print('the second start')")
    said(child)
    assert child.tail() == ("the second start",)


def test_a_living_child_is_not_reported(start):
    require_alive(start("import time; time.sleep(600)"))


def test_a_child_ends_when_its_launcher_is_killed(tmp_path):
    launcher = textwrap.dedent(f"""
        import json, os, sys, time
        from pathlib import Path
        from launch.children import start_child
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = start_child("part", sleep, os.environ, Path({str(tmp_path)!r}) / "log")
        print(json.dumps(child.pid), flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([PYTHON, "-c", launcher], stdout=subprocess.PIPE, text=True) as process:
        child = psutil.Process(json.loads(process.stdout.readline()))
        process.kill()
    gone, alive = psutil.wait_procs([child], timeout=30)
    assert (len(gone), alive) == (1, [])
