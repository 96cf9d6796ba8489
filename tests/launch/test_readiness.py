"""Readiness is asked of the part itself, whatever proxy the environment names."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from launch.readiness import answers

NOWHERE = "http://127.0.0.1:9"  # no proxy listens there


class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.headers.get("Authorization", "Bearer secret") == "Bearer secret"
        self.send_response(200 if self.path == "/health" and allowed else 503)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def address(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_proxy_of_the_environment_is_not_asked(address):
    assert answers(f"{address}/health", "secret")


def test_anything_but_200_is_not_ready(address):
    assert not answers(f"{address}/elsewhere")
    assert not answers(f"{address}/health", "wrong")


@pytest.mark.parametrize(("path", "status"), [("/health", 0), ("/elsewhere", 1)])
def test_a_containers_health_check_asks_directly_too(address, path, status):
    check = subprocess.run([sys.executable, "-m", "launch.healthy", address + path], env=os.environ, timeout=60)
    assert check.returncode == status
