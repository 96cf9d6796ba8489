"""Connections that bring less than they promise are closed in time, and who leaves is no fault of the gateway."""

import re
import socket
from pathlib import Path

import pytest

from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for, until


def test_oversized_promise_is_413_before_a_byte_of_it_arrives(gateway: Gateway) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {gateway.secrets['caller']}\r\nContent-Length: 99999999999\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(head.encode())
        assert raw.recv(64).startswith(b"HTTP/1.1 413")


def test_body_that_never_arrives_is_408(home: Path, serving: FakeServing, valkey_url: str) -> None:
    with running(settings_for(home, serving.url, valkey_url, body_seconds=0.1)) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {gateway.secrets['caller']}\r\nContent-Length: 50\r\n\r\n{{"
        )
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            raw.sendall(head.encode())
            answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"body_timeout"' in answer


SLOW_HEAD = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: "


@pytest.mark.parametrize(
    ("served", "sent"), [(False, b""), (False, b"\r\n"), (False, SLOW_HEAD), (True, b"\r\n"), (True, SLOW_HEAD)]
)
def test_connection_whose_head_never_ends_is_closed(
    home: Path, serving: FakeServing, valkey_url: str, served: bool, sent: bytes
) -> None:
    with running(settings_for(home, serving.url, valkey_url, head_seconds=1)) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            if served:
                raw.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                assert raw.recv(4096).startswith(b"HTTP/1.1 200")
            raw.sendall(sent)
            while raw.recv(4096):  # ends when the connection is closed; raises when it is still open after 20 s
                pass


def test_held_stream_outlives_the_deadline_of_heads(home: Path, serving: FakeServing, valkey_url: str) -> None:
    with running(settings_for(home, serving.url, valkey_url, head_seconds=1)) as gateway:
        held = gateway.ask("long [0.3]").json()
        with gateway.http() as http:
            answer = http.get(f"/v1/chat/completions/{held['id']}", headers={"prefer": "wait=2"})
    assert answer.status_code == 202


def test_caller_who_leaves_in_the_middle_of_a_body_is_counted_as_gone_and_no_fault(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended() -> str:
        with gateway.http(None) as http:
            lines = http.get("/metrics").text.splitlines()
        return "".join(line for line in lines if "requests_total" in line and re.search('status="(499|5..)"', line))

    host, port = gateway.url.removeprefix("http://").split(":")
    head = f"POST /v1/reviews/claim HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {gateway.secrets['ada']}\r\n"
    before = ended()
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(head.encode() + b"Content-Length: 50\r\n\r\n{")
    until(lambda: ended() != before)
    assert 'route="/v1/reviews/claim",status="499"' in ended()
    assert "Traceback" not in "".join(capsys.readouterr())
