"""A part dies at the durable step that its control file names, and at no other."""

import signal
import subprocess
import sys

import pytest

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


def run(control, script=SCRIPT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, str(control)]
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


COMMITS = """
import sys
from pathlib import Path
import sqlalchemy as sa
from tests.faults.crashing import Steps, wrap_durable_steps
wrap_durable_steps(Steps(Path(sys.argv[1])))
engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
for statement in ("CREATE TABLE a (x INT)", "INSERT INTO a VALUES (1)", "UPDATE a SET x = 2", "SELECT x FROM a"):
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
        connection.execute(sa.text("DELETE FROM a WHERE x = 3") if "SELECT" not in statement else sa.text("SELECT 1"))
"""


@pytest.mark.parametrize(
    ("step", "where"),
    [
        (1, "before COMMIT of DELETE a"),
        (3, "before COMMIT of INSERT a"),
        (6, "after COMMIT of UPDATE a"),
    ],
)
def test_a_commit_is_known_by_the_first_write_of_its_transaction(tmp_path, step, where):
    control = tmp_path / "die"
    control.write_text(str(step))
    assert run(control, COMMITS).returncode == -signal.SIGKILL
    assert control.with_suffix(".died").read_text() == where


SYNCS = """
import sys
from pathlib import Path
from tests.faults.crashing import Steps, wrap_durable_steps
wrap_durable_steps(Steps(Path(sys.argv[1])))
from storage.checkpoint_file import sync_folder
sync_folder(Path(sys.argv[1]).parent)
"""


def test_a_commit_of_what_was_only_read_is_no_step(tmp_path):
    control = tmp_path / "die"
    control.write_text("7")
    assert run(control, COMMITS).returncode == 0
    assert not control.with_suffix(".died").exists()


def test_another_step_is_known_by_the_function_of_the_product_that_took_it(tmp_path):
    control = tmp_path / "die"
    control.write_text("1")
    assert run(control, SYNCS).returncode == -signal.SIGKILL
    assert control.with_suffix(".died").read_text() == "before fsync in storage.checkpoint_file.sync_folder"


def test_without_a_control_file_it_lives(tmp_path):
    ended = run(tmp_path / "die")
    assert (ended.returncode, ended.stdout.split()) == (0, ["0", "1", "2", "3", "4"])
