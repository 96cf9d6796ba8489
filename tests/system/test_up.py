"""`./run up` at a terminal: it says what to do when it cannot start, and leaves nothing behind when it stops."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from launch.ports import LOOPBACK, free_ports
from tests.system.waiting import until

UP = [sys.executable, "-m", "launch.up"]
ASK = [sys.executable, "-m", "launch.ask"]


@pytest.fixture
def environment():
    gateway, serving, dashboard = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="cs up ") as home:  # a path with spaces
        kept = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL")}
        yield {
            **kept,
            "COUNTERSIGN_HOME": str(Path(home) / "state"),
            "COUNTERSIGN_PORT": str(gateway),
            "COUNTERSIGN_SERVING_PORT": str(serving),
            "COUNTERSIGN_DASHBOARD_PORT": str(dashboard),
            "COUNTERSIGN_REPLICAS": "1",
            "COUNTERSIGN_RANKS": "1",  # more of both: tests/system/conftest.py
        }


def up(environment, **more):
    return subprocess.run(UP, env={**environment, **more}, capture_output=True, text=True, timeout=120)


def sentence(result):
    """What a launch that could not start has said: one line, one sentence."""
    assert result.returncode == 1, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if line.strip() and not line.startswith(("  ", "stop"))]
    assert len(lines) == 1, result.stdout
    assert lines[0].endswith(".")
    return lines[0]


def nothing_started(environment):
    home = Path(environment["COUNTERSIGN_HOME"])
    return not (home / "logs").exists() and not (home / "countersign.db").exists()


def test_a_busy_port_is_named_and_nothing_starts(environment):
    with socket.socket() as other:
        other.bind((LOOPBACK, int(environment["COUNTERSIGN_DASHBOARD_PORT"])))
        other.listen(1)
        said = sentence(up(environment))
    assert environment["COUNTERSIGN_DASHBOARD_PORT"] in said
    assert "COUNTERSIGN_DASHBOARD_PORT" in said
    assert nothing_started(environment)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("COUNTERSIGN_CHECKPOINT", "/nowhere/at/all"),
        ("COUNTERSIGN_CHECKPOINT", str(Path(__file__).parent)),
        ("REDIS_URL", f"redis://{LOOPBACK}:1/0"),
        ("DATABASE_URL", f"postgresql://{LOOPBACK}:1/countersign"),
        ("COUNTERSIGN_PORT", "not-a-number"),
        ("COUNTERSIGN_EXCHANGE", "pigeons"),  # only serving reads it
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_starts(environment, variable, value):
    assert variable.lower().removeprefix("countersign_") in sentence(up(environment, **{variable: value})).lower()
    assert nothing_started(environment)


def test_a_part_that_dies_while_starting_says_why_and_the_rest_is_stopped(environment):
    result = up(environment, COUNTERSIGN_CLAIM_SECONDS="-1")  # only the gateway reads it
    assert result.returncode == 1
    assert "COUNTERSIGN_CLAIM_SECONDS" in result.stdout
    assert "gateway ended with status 1 while it was starting" in result.stdout
    home = environment["COUNTERSIGN_HOME"]
    assert [each.pid for each in psutil.process_iter() if started_from(each, home)] == []


def started_from(process, home):
    return of(process, "COUNTERSIGN_HOME", home)


def of(process, variable, value):
    try:
        return process.environ().get(variable) == value
    except (psutil.Error, OSError):
        return False


def test_ask_without_a_running_product_says_so(environment):
    result = subprocess.run([*ASK, "What is 1 + 1?"], env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "./run up" in result.stdout


def test_up_answers_refuses_a_second_start_and_leaves_no_process_after_ctrl_c(environment):
    process = subprocess.Popen(UP, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = read_until(process, "Ctrl-C stops everything.")
        assert re.search(r"key csk_\S+", said)
        assert re.search(r"/signin\?link=\S+", said)
        family = {process.pid: psutil.Process(process.pid).create_time()}
        family |= {each.pid: each.create_time() for each in psutil.Process(process.pid).children(recursive=True)}
        assert len(family) > 8

        second = up({**environment, "COUNTERSIGN_HOME": environment["COUNTERSIGN_HOME"]})
        assert "already running" in sentence(second)

        access = Path(environment["COUNTERSIGN_HOME"]) / "access.json"
        assert stat.S_IMODE(access.stat().st_mode) == 0o600
        assert set(json.loads(access.read_text())) == {"url", "key"}
        answered = subprocess.run([*ASK, "What is 7 + 5?"], env=environment, capture_output=True, text=True, timeout=60)
        assert (answered.returncode, "Answer: 12" in answered.stdout) == (0, True), answered.stdout
        held = subprocess.run([*ASK, "Who was Homer?"], env=environment, capture_output=True, text=True, timeout=60)
        assert held.returncode == 3
        assert "Held for review" in held.stdout
        fetch = re.search(r"--fetch (chatcmpl-\S+)", held.stdout)
        again = subprocess.run([*ASK, "--fetch", fetch[1]], env=environment, capture_output=True, text=True, timeout=60)
        assert again.returncode == 3

        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0, rest
        assert "no process remains" in rest
        assert [pid for pid, started in family.items() if lives(pid, started)] == []
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


def test_check_proves_the_whole_behind_any_proxy_and_leaves_nothing(environment):
    nowhere = "http://127.0.0.1:9"  # no proxy listens there
    proxied = {name: value for name, value in environment.items() if name.lower() != "no_proxy"}
    with tempfile.TemporaryDirectory(prefix="cs") as folder:
        proxied |= {"TMPDIR": folder, "http_proxy": nowhere, "HTTP_PROXY": nowhere}
        result = subprocess.run([*UP, "--check"], env=proxied, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "held, claimed, approved, retrieved: chatcmpl-" in result.stdout
        assert re.search(r"slowest one-line question: [\d.]+ s", result.stdout)
        assert re.search(r"ready after [\d.]+ s; \d+ processes, [\d.]+ GiB RSS", result.stdout)
        assert "no process remains" in result.stdout
        assert list(Path(folder).glob("countersign-*")) == []
        assert not Path(environment["COUNTERSIGN_HOME"]).exists()  # whoever uses it is not disturbed
        assert [each.pid for each in psutil.process_iter() if of(each, "TMPDIR", folder)] == []


def test_kill_9_of_the_launcher_ends_every_process(environment):
    process = subprocess.Popen(UP, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    read_until(process, "dashboard")  # ready, while Ray is still coming up
    home = environment["COUNTERSIGN_HOME"]
    assert len([each for each in psutil.process_iter() if started_from(each, home)]) > 3
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not [each for each in psutil.process_iter() if started_from(each, home)], 60)


def test_a_closed_terminal_ends_the_launch_in_order(environment):
    """While Ray is still coming up; once all is ready: tests/launch/test_up.py."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(UP, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    home = Path(environment["COUNTERSIGN_HOME"])
    while not (home / "logs" / "dashboard.log").exists():  # the last part has been started
        assert os.read(ours, 65536)
    assert len([each for each in psutil.process_iter() if started_from(each, str(home))]) > 3
    os.close(ours)  # nobody reads any more
    process.send_signal(signal.SIGHUP)
    process.wait(60)
    assert process.returncode != -signal.SIGHUP
    assert (home / "countersign.db").exists()
    assert not (home / "access.json").exists()
    assert not (home / "launch.json").exists()
    assert [each for each in psutil.process_iter() if started_from(each, str(home))] == []


def read_until(process, words):
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"./run up ended without {words!r}:\n{said}")


def lives(pid, started):
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.NoSuchProcess:
        return False
