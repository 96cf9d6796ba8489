"""The embedded Valkey keeps its data, is shared rather than doubled, and never outlives who started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from storage import embedded_valkey
from storage.errors import QueueUnreachable
from storage.review_queue import ReviewQueue
from tests.storage.servers import short_directory


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made / "valkey"


def test_data_survives_a_restart_and_a_kill(directory: Path) -> None:
    server = embedded_valkey.start(directory)
    queue = ReviewQueue(server.url)
    queue.add("kept", 1.0, "acme")
    server.stop()
    with pytest.raises(QueueUnreachable):
        queue.ping()
    server = embedded_valkey.start(directory)
    assert queue.most_urgent("acme", 9) == ["kept"]
    os.kill(server.pid, signal.SIGKILL)
    psutil.Process(server.pid).wait(10)
    server = embedded_valkey.start(directory)
    assert queue.most_urgent("acme", 9) == ["kept"]
    queue.close()
    server.stop()


def test_a_live_server_is_reused_and_left_to_its_owner(directory: Path) -> None:
    owner = embedded_valkey.start(directory)
    guest = embedded_valkey.start(directory)
    assert (guest.url, guest.pid) == (owner.url, None)
    guest.stop()
    assert embedded_valkey.answers(directory)
    owner.stop()
    owner.stop()
    assert not embedded_valkey.answers(directory)


def test_it_listens_on_no_network_and_only_for_its_user(directory: Path) -> None:
    server = embedded_valkey.start(directory)
    try:
        listening = [c for c in psutil.Process(server.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening == []
        assert embedded_valkey.socket_path(directory).stat().st_mode & 0o077 == 0
    finally:
        server.stop()


def test_a_long_directory_gets_a_short_private_socket(directory: Path) -> None:
    deep = directory / ("d" * 60) / ("e" * 60)
    socket = embedded_valkey.socket_path(deep)
    assert len(os.fsencode(socket)) <= embedded_valkey.MAX_SOCKET_PATH
    server = embedded_valkey.start(deep)
    try:
        assert ReviewQueue(server.url).depth("acme") == 0
        assert (deep / "appendonlydir").is_dir()
        assert socket.parent.stat().st_mode & 0o077 == 0
    finally:
        server.stop()
        socket.parent.rmdir()


def test_a_killed_parent_leaves_no_orphan(directory: Path) -> None:
    program = (
        "import pathlib, sys, time; from storage import embedded_valkey;"
        "print(embedded_valkey.start(pathlib.Path(sys.argv[1])).pid, flush=True); time.sleep(600)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        orphan = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([orphan], timeout=20)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_a_second_server_for_a_directory_refuses_to_start(directory: Path) -> None:
    server = embedded_valkey.start(directory)
    try:
        second = subprocess.run(embedded_valkey.command(directory), capture_output=True, text=True, timeout=60)
        assert second.returncode == 1
        assert "already serves" in second.stderr
    finally:
        server.stop()


def test_a_server_that_cannot_start_is_said_with_its_log(directory: Path) -> None:
    directory.mkdir()
    (directory / "appendonlydir").write_text("a file where a directory must be")
    with pytest.raises(QueueUnreachable, match=r"valkey\.log"):
        embedded_valkey.start(directory)
