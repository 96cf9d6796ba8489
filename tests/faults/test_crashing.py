"""A part dies at the durable step that its control file names, and at no other."""

import signal
import subprocess
import sys

SCRIPT = """
import os, sys, tempfile
from pathlib import Path
from tests.faults.crashing import Steps, wrap_durable_steps
wrap_durable_steps(Steps(Path(sys.argv[1])))
with tempfile.TemporaryFile() as file:
    for number in range(5):
        os.fsync(file.fileno())
        print(number, flush=True)
"""


def run(control) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(control)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_dies_before_the_second_fsync_at_step_three(tmp_path):
    control = tmp_path / "die"
    control.write_text("3")
    ended = run(control)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["0"]
    assert control.with_suffix(".died").read_text() == "before fsync"
    assert not control.exists()  # the next start lives


def test_it_dies_after_the_second_fsync_at_step_four(tmp_path):
    control = tmp_path / "die"
    control.write_text("4")
    assert run(control).stdout.split() == ["0"]
    assert control.with_suffix(".died").read_text() == "after fsync"


def test_without_a_control_file_it_lives(tmp_path):
    ended = run(tmp_path / "die")
    assert (ended.returncode, ended.stdout.split()) == (0, ["0", "1", "2", "3", "4"])
