"""Ports of a serving application lie where no outgoing connection takes them between the look and the server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from serving.cluster import _did_not_start
from serving.ports import CANDIDATES, free_port
from serving.settings import ServingSettings

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_a_free_port_can_be_listened_on():
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        server.listen(1)


@pytest.mark.skipif(not OUTGOING.exists(), reason="not Linux")
def test_ports_lie_below_those_of_outgoing_connections():
    assert CANDIDATES.stop <= max(int(OUTGOING.read_text().split()[0]), 30_000)


def test_a_busy_port_is_passed_over(monkeypatch):
    first = free_port()
    second = free_port()
    monkeypatch.setattr("random.sample", lambda *_: [first, second])
    with socket.socket() as server:
        server.bind(("127.0.0.1", first))
        assert free_port() == second


def test_an_actors_error_is_told_by_its_cause(tmp_path):
    error = RuntimeError(
        '\x1b[36mray::HAProxyManager.ready()\x1b[39m (pid=1)\n  File "x", line 1\nOSError: port 5 is busy'
    )
    settings = ServingSettings(home=tmp_path)
    assert "HAProxy did not start (OSError: port 5 is busy)" in str(_did_not_start("HAProxy", error, settings))
