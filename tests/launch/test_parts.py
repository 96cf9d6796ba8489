"""Each part is told its own address and what it needs, and no secret beyond that."""

from pathlib import Path

import pytest

from launch.parts import DASHBOARD, GATEWAY, SERVING, Wiring, parts
from launch.settings import LaunchSettings

WIRING = Wiring("mark", "sqlite:////somewhere/countersign.db", "unix:///somewhere/valkey.sock", "the-token")

KEYS_OF_THE_LOG = ("COUNTERSIGN_MASTER_KEY", "COUNTERSIGN_AUDIT_SIGNING_KEY")


@pytest.fixture
def told(monkeypatch):
    for name in ("DATABASE_URL", "REDIS_URL", "COUNTERSIGN_SERVING_TOKEN", "COUNTERSIGN_SERVING_PORT"):
        monkeypatch.setenv(name, "from-outside")
    for name in KEYS_OF_THE_LOG:
        monkeypatch.setenv(name, "a-secret")
    monkeypatch.setenv("COUNTERSIGN_CLAIM_SECONDS", "60")
    monkeypatch.setenv("COUNTERSIGN_WORKER", "off")
    settings = LaunchSettings(home=Path("/somewhere"), port=1, serving_port=2, dashboard_port=3)
    return {name: part.environment for name, part in parts(settings, WIRING).items()}


def test_each_part_listens_on_loopback_at_its_own_port(told):
    assert {name: environment["COUNTERSIGN_PORT"] for name, environment in told.items()} == {
        GATEWAY: "1",
        SERVING: "2",
        DASHBOARD: "3",
    }
    assert {environment["COUNTERSIGN_HOST"] for environment in told.values()} == {"127.0.0.1"}


def test_the_dashboard_knows_the_gateway_and_no_secret(told):
    assert told[DASHBOARD]["COUNTERSIGN_GATEWAY_URL"] == "http://127.0.0.1:1"
    for secret in ("DATABASE_URL", "REDIS_URL", "COUNTERSIGN_SERVING_TOKEN"):
        assert secret not in told[DASHBOARD]


def test_serving_knows_no_database_and_no_queue(told):
    assert told[SERVING]["COUNTERSIGN_SERVING_TOKEN"] == "the-token"
    assert not {"DATABASE_URL", "REDIS_URL"} & set(told[SERVING])


def test_the_gateway_knows_truth_queue_and_serving(told):
    assert told[GATEWAY]["DATABASE_URL"] == WIRING.database_url
    assert told[GATEWAY]["REDIS_URL"] == WIRING.redis_url
    assert told[GATEWAY]["COUNTERSIGN_SERVING_URL"] == "http://127.0.0.1:2"
    assert told[GATEWAY]["COUNTERSIGN_SERVING_TOKEN"] == "the-token"


def test_only_the_gateway_knows_the_keys_of_the_audit_log(told):
    for name in KEYS_OF_THE_LOG:
        assert {part: told[part].get(name) for part in told} == {GATEWAY: "a-secret", SERVING: None, DASHBOARD: None}


def test_the_worker_runs_in_the_gateway_whatever_the_environment_says(told):
    assert told[GATEWAY]["COUNTERSIGN_WORKER"] == "embedded"


def test_settings_of_single_parts_pass_through(told):
    assert {environment["COUNTERSIGN_CLAIM_SECONDS"] for environment in told.values()} == {"60"}
