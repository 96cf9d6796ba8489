"""Brings Ray, Serve with its HAProxy and the replicas up, and takes them down again."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from serving.backends.backend import BackendRefused
from serving.backends.choice import check_devices
from serving.checks import CannotStart
from serving.ray_narrowed import leave_out_helpers
from serving.settings import ServingSettings

APPLICATION = "countersign"
OBJECT_STORE_BYTES = 80 * 1024 * 1024  # the least Ray takes; answers do not travel through it
ROUTE_SECONDS = 60.0


def start_ray(settings: ServingSettings, temp: Path) -> int:
    """The number of logical CPUs. Raises CannotStart."""
    import ray

    leave_out_helpers()
    cores = len(os.sched_getaffinity(0))
    try:
        ray.init(
            num_cpus=cores,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            namespace="countersign",
            _temp_dir=str(temp),
            _node_ip_address="127.0.0.1",
        )
    except Exception as error:
        raise _did_not_start("Ray", error, settings) from error
    return cores


def start_proxy(settings: ServingSettings) -> None:
    """Serve's controller and HAProxy. Raises CannotStart."""
    from ray import serve

    try:
        serve.start(
            http_options={"host": settings.host, "port": settings.port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    except Exception as error:
        raise _did_not_start("HAProxy", error, settings) from error


def start_replicas(settings: ServingSettings, cores: int) -> None:
    """Returns when every replica has its ranks. Raises CannotStart."""
    import ray
    from ray import serve

    from serving.app import build, cpu_share

    try:
        check_devices(settings, int(ray.cluster_resources().get("GPU", 0)))
        serve.run(build(settings, cpu_share(cores, settings)), name=APPLICATION, route_prefix="/")
    except BackendRefused as error:
        raise CannotStart(str(error)) from error
    except Exception as error:
        raise _did_not_start("A replica", error, settings) from error


def wait_until_routed(settings: ServingSettings) -> None:
    """HAProxy learns of the last replica a moment after Serve calls it ready; ready means that all are reached."""
    token = settings.serving_token.get_secret_value() if settings.serving_token else ""
    reached: set[str] = set()
    deadline = time.monotonic() + ROUTE_SECONDS
    while len(reached) < settings.replicas:
        if time.monotonic() > deadline:
            raise CannotStart(f"Only {len(reached)} of {settings.replicas} replicas answer: see {settings.home}/logs.")
        connection = http.client.HTTPConnection(settings.host, settings.port, timeout=5)
        try:
            connection.request("GET", "/health", headers={"Authorization": f"Bearer {token}"})
            reached.add(str(json.load(connection.getresponse())["replica"]))
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            time.sleep(0.1)
        finally:
            connection.close()


def drain() -> None:
    """First the replicas, which finish what is in flight, then HAProxy: Serve's own shutdown ends it at once."""
    serve = sys.modules.get("ray.serve")
    if serve:
        with suppress(Exception):
            serve.delete(APPLICATION)
            serve.shutdown()


def _did_not_start(what: str, error: Exception, settings: ServingSettings) -> CannotStart:
    lines = str(error).strip().splitlines() or [repr(error)]  # an actor's error is a traceback: its cause comes last
    reason = (lines[-1] if "ray::" in lines[0] else lines[0]).strip()[:200]
    return CannotStart(f"{what} did not start ({reason}): see {settings.home}/logs/ray.")
