"""A stage that is told to end takes down what it started, and runs the code that it was asked to run."""

import signal
import subprocess
import sys

import pytest

from tests.faults.stages import Plan, tree_of
from tests.mutations.catalogue import FENCING
from tests.mutations.tree import ROOT

SCRIPT = """
import asyncio
from tests.faults.stages import ended_by_signals

async def work():
    try:
        print("working", flush=True)
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        print("taken down", flush=True)

try:
    with ended_by_signals():
        asyncio.run(work())
except KeyboardInterrupt:
    raise SystemExit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_takes_everything_down_in_order_also_in_a_background_job(number):
    def born_deaf() -> None:  # as a shell's background job is
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=born_deaf, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(number)
        assert process.stdout.read() == "taken down\n"
        assert process.wait(30) == 130


def test_without_a_mechanism_the_code_of_a_changed_copy_runs():
    file = FENCING.edits[0].file
    with tree_of(Plan(1, 1.0)) as tree:
        assert tree == ROOT
    with tree_of(Plan(1, 1.0, without="fencing")) as tree:
        assert FENCING.edits[0].old not in (tree / file).read_text(encoding="utf-8")
