"""Finds out before anything is started whether everything can be: ports, checkpoint, database, Redis."""

from __future__ import annotations

import json
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from launch.errors import CannotStart
from launch.ports import require_free
from launch.settings import LaunchSettings

ARCHITECTURE = "afmoe"


def check_all(settings: LaunchSettings) -> None:
    """Raises CannotStart with one sentence at the first thing that is missing."""
    check_ports(settings)
    check_checkpoint(settings.checkpoint)
    check_redis(settings.redis_url)
    check_database(settings.database_url)


def check_ports(settings: LaunchSettings) -> None:
    require_free(
        (
            ("the gateway", settings.port, "COUNTERSIGN_PORT"),
            ("serving", settings.serving_port, "COUNTERSIGN_SERVING_PORT"),
            ("the dashboard", settings.dashboard_port, "COUNTERSIGN_DASHBOARD_PORT"),
        )
    )


def check_checkpoint(directory: Path) -> None:
    """A quick look (serving itself checks every tensor): there, and of a family that serving loads."""
    config = directory / "config.json"
    if not config.is_file():
        raise CannotStart(
            f"There is no model in {directory} (config.json is missing): "
            "set COUNTERSIGN_CHECKPOINT to a checkpoint directory, or run ./run train."
        )
    try:
        family = json.loads(config.read_text()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CannotStart(
            f"{config} is not readable JSON: set COUNTERSIGN_CHECKPOINT to a whole checkpoint."
        ) from error
    if family != ARCHITECTURE:
        raise CannotStart(
            f"The checkpoint in {directory} is of type {family!r}, and serving loads {ARCHITECTURE!r}: "
            "set COUNTERSIGN_CHECKPOINT to such a directory."
        )
    if not any(directory.glob("*.safetensors")):
        raise CannotStart(
            f"The checkpoint in {directory} has no *.safetensors file: set COUNTERSIGN_CHECKPOINT to a whole one."
        )


def check_redis(url: str) -> None:
    """Only a named server is asked; the embedded one is started later."""
    if not url:
        return
    advice = "start it, correct REDIS_URL, or unset it to use the embedded Valkey."
    try:
        with redis.Redis.from_url(
            url, socket_timeout=3, socket_connect_timeout=3, retry=Retry(NoBackoff(), 0)
        ) as server:
            server.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        raise CannotStart(f"Redis does not answer at {_without_password(url)}: {advice}") from error


def check_database(url: str) -> None:
    """Only a named database is asked; the embedded one is a file that is made later."""
    if not url:
        return
    from storage.database import DatabaseUnreachable, open_database

    try:
        database = open_database(url)
        with database.read():
            pass
    except DatabaseUnreachable as error:
        advice = "start it, correct DATABASE_URL, or unset it to use SQLite."
        raise CannotStart(f"{str(error).rstrip('.')}: {advice}") from error


def _without_password(url: str) -> str:
    """`redis://user:secret@host:1` → `redis://host:1`: secrets are not printed."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
