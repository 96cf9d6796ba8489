"""What a killed launch left behind is ended by the next one, and a running launch is left alone."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from launch.children import MARK
from launch.errors import CannotStart
from launch.record import LaunchRecord

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture
def sleeper():
    started = []

    def start(**environment):
        process = subprocess.Popen(SLEEP, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()  # it runs Python by now, so its environment can be read
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def write(path, *, launcher, processes=(), mark="none-such"):
    path.write_text(json.dumps({"mark": mark, "launcher": launcher, "processes": list(processes)}))


def identity(pid: int, later: float = 0.0) -> dict:
    return {"pid": pid, "started": psutil.Process(pid).create_time() + later}


GONE = {"pid": 2**22 + 1, "started": 0.0}


def test_a_recorded_process_of_a_dead_launch_is_ended(tmp_path, sleeper):
    left = sleeper()
    record = LaunchRecord(tmp_path / "launch.json")
    write(record.path, launcher=GONE, processes=[identity(left.pid)])
    record.claim("new")
    assert not psutil.pid_exists(left.pid)


def test_a_marked_process_is_ended_though_it_was_never_recorded(tmp_path, sleeper):
    left = sleeper(**{MARK: "old-launch"})
    record = LaunchRecord(tmp_path / "launch.json")
    write(record.path, launcher=GONE, mark="old-launch")
    record.claim("new")
    assert not psutil.pid_exists(left.pid)


def test_a_process_that_got_a_recorded_pid_later_is_spared(tmp_path, sleeper):
    stranger = sleeper()
    record = LaunchRecord(tmp_path / "launch.json")
    write(record.path, launcher=GONE, processes=[identity(stranger.pid, later=-100.0)])
    record.claim("new")
    assert stranger.poll() is None


def test_a_second_launch_of_a_running_home_is_refused_and_harms_nothing(tmp_path, sleeper):
    launcher, part = sleeper(), sleeper()
    record = LaunchRecord(tmp_path / "launch.json")
    write(record.path, launcher=identity(launcher.pid), processes=[identity(part.pid)])
    with pytest.raises(CannotStart, match=f"already running.*{launcher.pid}"):
        record.claim("new")
    assert part.poll() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"processes": [{"pid": "x"}, 3]}'])
def test_a_damaged_record_does_not_hinder_a_start(tmp_path, content):
    record = LaunchRecord(tmp_path / "launch.json")
    record.path.write_text(content)
    record.claim("new")
    assert json.loads(record.path.read_text())["mark"] == "new"
