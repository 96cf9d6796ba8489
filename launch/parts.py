"""Knows the processes of the product: how each is started, with which environment, and where it says it is ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from launch.children import MARK
from launch.ports import LOOPBACK
from launch.settings import ROOT, LaunchSettings

SERVING, GATEWAY, DASHBOARD = "serving", "gateway", "dashboard"


@dataclass(frozen=True, slots=True)
class Part:
    """One process to start."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready_url: str  # answers 200 once the part does its work


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the parts of one launch must agree on."""

    mark: str  # the launch's id
    database_url: str
    redis_url: str
    serving_token: str


def gateway_url(settings: LaunchSettings) -> str:
    return f"http://{LOOPBACK}:{settings.port}"


def serving_url(settings: LaunchSettings) -> str:
    return f"http://{LOOPBACK}:{settings.serving_port}"


def dashboard_url(settings: LaunchSettings) -> str:
    return f"http://{LOOPBACK}:{settings.dashboard_port}"


def database_url(settings: LaunchSettings) -> str:
    return settings.database_url or f"sqlite:///{settings.home / 'countersign.db'}"


def parts(settings: LaunchSettings, wiring: Wiring) -> dict[str, Part]:
    """The three long-lived processes, by name; the worker runs inside the gateway."""
    python = (sys.executable, "-m")
    serving = {
        "COUNTERSIGN_CHECKPOINT": str(settings.checkpoint.resolve()),
        "COUNTERSIGN_REPLICAS": str(settings.replicas),
        "COUNTERSIGN_RANKS": str(settings.ranks),
        "COUNTERSIGN_SERVING_TOKEN": wiring.serving_token,
    }
    gateway = {
        "DATABASE_URL": wiring.database_url,
        "REDIS_URL": wiring.redis_url,
        "COUNTERSIGN_SERVING_URL": serving_url(settings),
        "COUNTERSIGN_SERVING_TOKEN": wiring.serving_token,
        "COUNTERSIGN_WORKER": "embedded",  # nothing here starts another
        "COUNTERSIGN_MASTER_KEY": settings.master_key.get_secret_value(),
        "COUNTERSIGN_AUDIT_SIGNING_KEY": settings.audit_signing_key.get_secret_value(),
    }
    dashboard = {"COUNTERSIGN_GATEWAY_URL": gateway_url(settings)}

    def part(name: str, command: tuple[str, ...], port: int, own: Mapping[str, str], ready: str) -> Part:
        told = {"COUNTERSIGN_HOST": LOOPBACK, "COUNTERSIGN_PORT": str(port), **own}
        return Part(name, (*python, *command), {**environment_of(settings, wiring), **told}, ready)

    return {
        SERVING: part(
            SERVING, ("serving.start",), settings.serving_port, serving, f"{serving_url(settings)}/health"
        ),
        GATEWAY: part(
            GATEWAY, ("gateway.command", "gateway"), settings.port, gateway, f"{gateway_url(settings)}/health/ready"
        ),
        DASHBOARD: part(
            DASHBOARD, ("review_ui.start",), settings.dashboard_port, dashboard,
            f"{dashboard_url(settings)}/_stcore/health",
        ),
    }  # fmt: skip


def environment_of(settings: LaunchSettings, wiring: Wiring) -> dict[str, str]:
    """The launcher's own environment without what is told to single parts, and with the launch's mark."""
    return {
        **{name: value for name, value in os.environ.items() if name not in _TOLD},
        MARK: wiring.mark,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))),
        "COUNTERSIGN_HOME": str(settings.home.resolve()),
    }


# secrets and addresses go only to the parts that need them
_TOLD = frozenset(
    {
        "DATABASE_URL",
        "REDIS_URL",
        "COUNTERSIGN_PORT",
        "COUNTERSIGN_MASTER_KEY",
        "COUNTERSIGN_AUDIT_SIGNING_KEY",
        "COUNTERSIGN_SERVING_TOKEN",
        "COUNTERSIGN_SERVING_URL",
        "COUNTERSIGN_GATEWAY_URL",
        "COUNTERSIGN_SERVING_PORT",
        "COUNTERSIGN_DASHBOARD_PORT",
    }
)
