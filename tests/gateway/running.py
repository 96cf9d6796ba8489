"""Starts the gateway as it runs in production, in a thread, on a real database and a real Valkey."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
import uvicorn
from fastapi import FastAPI

from gateway.app import create_app
from gateway.operations import vault_of
from gateway.server import config_of
from gateway.settings import Settings
from serving.confidence.calibration import calibration_to_json
from storage import keys, policies
from storage.database import Database, open_database
from storage.database import migrate as migrate
from storage.records import Action, Role
from tests.gateway.certified import put_in_use
from tests.gateway.fake_serving import MODEL, TOKEN
from tests.serving.confidence.made import calibration


@dataclass
class Gateway:
    """A running gateway with the secrets of a few people."""

    url: str
    app: FastAPI
    settings: Settings
    database: Database
    secrets: dict[str, str] = field(default_factory=dict)

    def openai(self, who: str = "caller", **options: Any) -> openai.OpenAI:
        options = {"max_retries": 0, "timeout": 30.0, **options}
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.secrets.get(who, who), **options)

    def http(self, who: str | None = "caller") -> httpx2.Client:
        headers = {"authorization": f"Bearer {self.secrets.get(who, who)}"} if who else {}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30.0)

    def ask(self, question: str, who: str = "caller", **body: Any) -> httpx2.Response:
        asked = {"model": "countersign-reference", "messages": [{"role": "user", "content": question}], **body}
        with self.http(who) as http:
            return http.post("/v1/chat/completions", json=asked)

    def claim(self, item_id: str, who: str = "ada") -> dict[str, Any]:
        with self.http(who) as http:
            return dict(http.post(f"/v1/reviews/{item_id}/claim").raise_for_status().json())

    def judge(
        self, item_id: str, verdict: str = "approve", reason: str = "", content: str | None = None, who: str = "ada"
    ) -> dict[str, Any]:
        token = self.claim(item_id, who)["claim"]["fencing_token"]
        body = {"fencing_token": token, "verdict": verdict, "reason": reason, "content": content}
        with self.http(who) as http:
            return dict(http.post(f"/v1/reviews/{item_id}/verdict", json=body).raise_for_status().json())

    def brief_key(self) -> tuple[str, str]:
        """Id and secret of a caller's key made for one test, to be revoked."""
        with self.http("admin") as http:
            made = http.post("/v1/keys", json={"name": "brief", "roles": ["caller"]}).raise_for_status().json()
        return made["id"], made["key"]

    def revoke(self, key_id: str) -> None:
        with self.http("admin") as http:
            http.delete(f"/v1/keys/{key_id}").raise_for_status()

    def events(self, who: str = "auditor", **filters: Any) -> list[dict[str, Any]]:
        with self.http(who) as http:
            return list(http.get("/v1/audit/events", params=filters).raise_for_status().json()["data"])


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Returns as soon as it is so; raises when it is not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("it never came true")
        time.sleep(0.01)


def prepare(database: Database) -> dict[str, str]:
    """Keys of two tenants, an active calibration and its certificate; returns the secrets by name."""
    people: dict[str, tuple[str, set[Role], dict[str, Any]]] = {
        "caller": ("acme", {Role.CALLER}, {}),
        "flagging": ("acme", {Role.CALLER}, {"below": Action.FLAG}),
        "trusting": ("acme", {Role.CALLER}, {"below": Action.RELEASE}),
        "hurried": ("acme", {Role.CALLER}, {"review_seconds": 0.001}),
        "ada": ("acme", {Role.REVIEWER}, {}),
        "grace": ("acme", {Role.REVIEWER}, {}),
        "auditor": ("acme", {Role.AUDITOR}, {}),
        "admin": ("acme", {Role.ADMIN}, {}),
        "stranger": ("other", {Role.CALLER}, {}),
        "strange-reviewer": ("other", {Role.REVIEWER, Role.AUDITOR, Role.ADMIN}, {}),
    }
    secrets: dict[str, str] = {}
    with database.transaction() as connection:
        for name, (tenant, roles, policy) in people.items():
            policy_id = policies.create_policy(connection, tenant, name=name, **policy).id if policy else None
            secrets[name] = keys.create(connection, tenant, name, roles, policy_id)[1]
        put_in_use(connection, calibration_to_json(calibration(MODEL)))
    return secrets


def settings_for(home: Path, serving_url: str, redis_url: str, **changes: Any) -> Settings:
    chosen: dict[str, Any] = {
        "home": home,
        "database_url": f"sqlite:///{home / 'countersign.db'}",
        "redis_url": redis_url,
        "queue_prefix": home.name,
        "serving_url": serving_url,
        "serving_token": TOKEN,
        "port": 0,
        "keep_alive_seconds": 0.05,
        "poll_seconds": 0.2,
        "worker_pause_seconds": 0.02,
        "reader_threads": 2,
        **changes,
    }
    return Settings(**chosen)


@contextmanager
def running(settings: Settings, secrets: dict[str, str] | None = None, **parts: Any) -> Iterator[Gateway]:
    """The application under a real uvicorn, ready; stopped when the block ends. Nothing is audited but by a `draw`."""
    parts.setdefault("draw", lambda: 1.0)
    database = open_database(settings.database, vault_of(settings))
    app = create_app(settings, **parts)
    config = config_of(settings, app)
    config.port, config.timeout_graceful_shutdown = 0, 2
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the gateway did not start")
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        known = prepare(database) if secrets is None else secrets
        yield Gateway(f"http://127.0.0.1:{port}", app, settings, database, known)
    finally:
        server.should_exit = True
        thread.join(15)
        database.close()
