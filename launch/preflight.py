"""Finds out before anything is started whether everything can be: ports, checkpoint, database, Redis."""

from __future__ import annotations

import subprocess

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from launch.errors import CannotStart
from launch.parts import Part
from launch.ports import require_free
from launch.settings import LaunchSettings


def check_all(settings: LaunchSettings, serving: Part) -> None:
    """Raises CannotStart with one sentence at the first thing that is missing."""
    check_ports(settings)
    check_serving(serving, settings.start_seconds)
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


def check_serving(part: Part, seconds: float) -> None:
    """Serving looks at its own settings and checkpoint, as it will when it starts, and starts nothing."""
    command = (*part.command, "--verify-only")
    try:
        looked = subprocess.run(  # noqa: S603 - a command of our own, no shell
            command, env=dict(part.environment), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CannotStart(
            f"The checkpoint was not checked within {seconds:.0f} s: give it longer with COUNTERSIGN_START_SECONDS."
        ) from error
    if looked.returncode != 0:
        said = looked.stderr.strip().splitlines() or [f"Checking the checkpoint ended with status {looked.returncode}."]
        raise CannotStart(said[-1])


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
