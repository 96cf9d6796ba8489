"""Canaries: no secret and no content that goes through a running gateway is found in anything that it emits."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
import sqlalchemy as sa

from storage import keys
from storage.database import open_database
from storage.vault import vault_from
from tests.gateway.fake_serving import SECRET_TEXT, TOKEN, FakeServing
from tests.gateway.running import prepare, until

MASTER = base64.b64encode(b"canary of the master key, 32 b..").decode()
SAID = "canary-said"  # in everything that people write


@dataclass
class Watched:
    """A gateway process with its real logging, and all that came out of it besides answers."""

    url: str
    home: Path
    redis_url: str
    secrets: dict[str, str]
    errors: list[str] = field(default_factory=list)  # bodies and headers of refusals and failures

    def send(self, who: str | None, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        if who is not None:
            headers["authorization"] = f"Bearer {self.secrets.get(who, who)}"
        answer = httpx2.request(method, self.url + path, json=body, headers=headers, timeout=30)
        if answer.is_error:
            self.errors.append(f"{answer.text} {answer.headers}")
        return answer

    def ask(self, question: str, **body: Any) -> httpx2.Response:
        asked = {"model": "countersign-reference", "messages": [{"role": "user", "content": f"{SAID} {question}"}]}
        named = {"user": SAID, "metadata": {"about": SAID}}
        return self.send("caller", "POST", "/v1/chat/completions", {**asked, **named, **body})

    def sinks(self) -> dict[str, str]:
        metrics = self.send(None, "GET", "/metrics").text
        with redis.Redis.from_url(self.redis_url) as valkey:
            kept = "".join(repr((key, valkey.dump(key))) for key in valkey.scan_iter(f"{self.home.name}*"))
        return {
            "log": (self.home / "log").read_text(),
            "spans": (self.home / "spans.jsonl").read_text(),
            "checkpoints": "".join(path.read_text() for path in (self.home / "audit").glob("checkpoints.jsonl")),
            "metrics": metrics,
            "valkey": kept,
            "errors": "\n".join(self.errors),
        }


@pytest.fixture
def watched(home: Path, valkey_url: str, serving: FakeServing) -> Iterator[Watched]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN_", "OTEL_"))}
    environment = {
        **kept,
        "COUNTERSIGN_HOME": str(home),
        "COUNTERSIGN_QUEUE_PREFIX": home.name,
        "COUNTERSIGN_SERVING_URL": serving.url,
        "COUNTERSIGN_SERVING_TOKEN": TOKEN,
        "COUNTERSIGN_MASTER_KEY": MASTER,
        "COUNTERSIGN_SPAN_FILE": str(home / "spans.jsonl"),
        "COUNTERSIGN_LOG_LEVEL": "DEBUG",
        "COUNTERSIGN_PORT": "0",
        "REDIS_URL": valkey_url,
    }
    database = open_database(f"sqlite:///{home / 'countersign.db'}", vault_from(MASTER))
    secrets = prepare(database)
    with database.transaction() as conn:
        ada = keys.by_secret(conn, secrets["ada"])
        assert ada is not None
        secrets["link"] = keys.create_signin_link(conn, ada.id, 600)
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.command", "gateway"], env=environment, stdout=log, stderr=log
        )
        try:
            port = port_of(process, home / "log")
            with database.transaction() as conn:  # a fault of the database that quotes what was to be written
                conn.execute(
                    sa.text(
                        "CREATE TRIGGER broken BEFORE INSERT ON interactions WHEN NEW.messages LIKE '%[explode]%' "
                        f"BEGIN SELECT RAISE(ABORT, 'row with {SAID}'); END"
                    )
                )
            yield Watched(f"http://127.0.0.1:{port}", home, valkey_url, secrets)
        finally:
            process.terminate()
            process.wait(20)
            database.close()


def port_of(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """The port it says that it listens on, once it answers there."""
    while True:
        assert process.poll() is None, log.read_text()
        lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        for port in [line["port"] for line in lines if "port" in line]:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/health/live").raise_for_status()
            except httpx2.HTTPError:
                continue
            return int(port)
        time.sleep(0.05)


def test_no_secret_and_no_content_is_in_anything_that_comes_out(watched: Watched) -> None:
    signed_in = watched.send(None, "POST", "/v1/signin", {"link": watched.secrets["link"]}).json()["key"]
    watched.secrets["signed in"] = signed_in
    held = watched.ask("[0.3]").json()["review"]["id"]
    token = watched.send(signed_in, "POST", f"/v1/reviews/{held}/claim").json()["claim"]["fencing_token"]
    words = {"fencing_token": token, "text": SAID, "note": SAID}
    assert watched.send(signed_in, "PUT", f"/v1/reviews/{held}/draft", words).is_success
    verdict = {"fencing_token": token, "verdict": "edit", "reason": SAID, "content": SAID}
    assert watched.send(signed_in, "POST", f"/v1/reviews/{held}/verdict", verdict).is_success
    assert watched.ask("[0.97]").json()["choices"][0]["message"]["content"] == SECRET_TEXT
    assert watched.ask("[0.97]", stream=True).is_success
    refusals = [
        watched.send(signed_in, "POST", f"/v1/reviews/{held}/verdict", verdict),  # decided already
        watched.send(None, "POST", "/v1/signin", {"link": watched.secrets["link"]}),  # used already
        watched.send(watched.secrets["caller"] + "x", "GET", "/v1/models"),
        watched.send("caller", "GET", "/v1/chat/completions/unknown"),
        watched.ask("[0.97]", temperature=9),
        watched.ask("[0.97]", stop=[SAID] * 9),
        watched.ask("\x00"),
        watched.ask("[busy]"),
        watched.ask("[too long]"),
        watched.ask("[explode] [0.3]"),
    ]
    assert [answer.status_code for answer in refusals] == [409, 410, 401, 404, 400, 400, 400, 429, 400, 500]
    canaries = {*watched.secrets.values(), SAID, SECRET_TEXT, TOKEN, MASTER, signing_key(watched.home)}
    waits = watched.ask("[0.3]").json()["review"]["id"]
    until(lambda: waits in watched.sinks()["valkey"] and "sealed_at" in watched.sinks()["checkpoints"])
    sinks = watched.sinks()
    for name, content in sinks.items():
        assert not [canary for canary in canaries if canary in content], name
    # the sinks were looked at while they had something to tell
    lines = [json.loads(line) for line in sinks["log"].splitlines()]
    (fault,) = [line for line in lines if line["event"] == "request failed"]
    assert "in record" in fault["exception"]
    assert held in sinks["spans"]
    assert "countersign_decisions_total" in sinks["metrics"]


def signing_key(home: Path) -> str:
    return (home / "audit" / "signing.key").read_text().strip().splitlines()[-1]
