"""HAProxy's configuration as Serve writes it is narrowed to loopback, its frontend left where the setting put it."""

from importlib.util import find_spec
from pathlib import Path

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


def test_what_is_narrowed_stands_in_serves_own_template() -> None:
    ray = find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    template = (Path(ray.origin).parent / "serve" / "_private" / "haproxy_templates.py").read_text()
    for line in ("frontend prometheus", "frontend http_frontend", "listen stats", "bind *:", "bind :", "mode 666"):
        assert line in template
