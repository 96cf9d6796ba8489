"""Busy ports are named before anything starts, with the variable that moves them."""

import socket

import pytest

from launch.errors import CannotStart
from launch.ports import LOOPBACK, free_ports, is_free, require_free


@pytest.fixture
def taken():
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen(1)
        yield server.getsockname()[1]


def test_a_port_that_someone_listens_on_is_busy(taken):
    assert not is_free(taken)


def test_free_ports_are_distinct_and_free():
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert all(is_free(port) for port in ports)


def test_a_busy_port_is_named_with_the_variable_that_moves_it(taken):
    with pytest.raises(CannotStart, match=rf"Port {taken} for the gateway is busy.*COUNTERSIGN_PORT"):
        require_free((("the gateway", taken, "COUNTERSIGN_PORT"),))


def test_one_port_given_twice_is_refused():
    (port,) = free_ports(1)
    with pytest.raises(CannotStart, match="COUNTERSIGN_B"):
        require_free((("one", port, "COUNTERSIGN_A"), ("two", port, "COUNTERSIGN_B")))


def test_free_ports_pass():
    one, two = free_ports(2)
    require_free((("one", one, "A"), ("two", two, "B")))
