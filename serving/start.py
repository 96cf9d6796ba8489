"""Starts Ray and the serving application, says each step as a line of JSON, and takes everything down again."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serving.model.checkpoint import Checkpoint, open_checkpoint
from serving.model.config import CheckpointError
from serving.processes import (
    RUN_VARIABLE,
    end_family,
    forget_run,
    keep_ray_logs,
    remember_run,
    remove_abandoned_runs,
)
from serving.ray_environment import RayPaths, prepare_paths, ray_environment
from serving.ray_narrowed import leave_out_helpers
from serving.settings import ServingSettings

OBJECT_STORE_BYTES = 80 * 1024 * 1024  # the least Ray takes; answers do not travel through it
APPLICATION = "countersign"
ROUTE_SECONDS = 60.0
DRAIN_SECONDS = 7.0  # of the ten that a caller of SIGTERM grants


BEGAN = time.monotonic()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0][:200]


class CannotStart(Exception):
    """One sentence that says what to do."""


def say(step: str, **facts: Any) -> None:
    """One line of JSON on stdout: {"step": …, "seconds": since the process began, …}."""
    print(json.dumps({"step": step, "seconds": round(time.monotonic() - BEGAN, 1), **facts}), flush=True)


def read_settings() -> ServingSettings:
    """Raises CannotStart naming the variable."""
    try:
        settings = ServingSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"COUNTERSIGN_{str(first['loc'][0]).upper()}" if first["loc"] else "The settings"
        raise CannotStart(f"{name} cannot be used: {first['msg']}.") from error
    return settings.model_copy(
        update={"home": settings.home.absolute(), "checkpoint": settings.checkpoint.absolute()},
    )


def verify(settings: ServingSettings) -> Checkpoint:
    """Everything that can be checked before Ray runs. Raises CannotStart."""
    try:
        checkpoint = open_checkpoint(settings.checkpoint)
    except CheckpointError as error:
        raise CannotStart(str(error)) from error
    if checkpoint.config.experts % settings.ranks:
        raise CannotStart(
            f"{checkpoint.config.experts} experts do not divide among {settings.ranks} ranks: change COUNTERSIGN_RANKS."
        )
    return checkpoint


def check_port(settings: ServingSettings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise CannotStart(
                f"{where} cannot be listened on ({error.strerror}): stop what uses it or set COUNTERSIGN_PORT."
            ) from error


def export(settings: ServingSettings, paths: RayPaths) -> None:
    """Ray's workers inherit this environment: the replicas read their settings from it."""
    os.environ.update(ray_environment(paths))
    os.environ[RUN_VARIABLE] = os.environ["TMPDIR"] = str(paths.temp)
    os.environ["COUNTERSIGN_HOME"] = str(settings.home)
    os.environ["COUNTERSIGN_CHECKPOINT"] = str(settings.checkpoint)
    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))


def start_ray(settings: ServingSettings, paths: RayPaths) -> int:
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
            _temp_dir=str(paths.temp),
            _node_ip_address="127.0.0.1",
        )
    except Exception as error:
        raise CannotStart(f"Ray did not start ({_first_line(error)}): see {settings.home}/logs/ray.") from error
    return cores


def serve_application(settings: ServingSettings, cores: int) -> None:
    """Returns when every replica answers. Raises CannotStart."""
    from ray import serve

    from serving.app import build, cpu_share

    try:
        serve.start(
            http_options={"host": settings.host, "port": settings.port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        say("replicas", replicas=settings.replicas, ranks=settings.ranks)
        serve.run(build(settings, cpu_share(cores, settings)), name=APPLICATION, route_prefix="/")
    except Exception as error:
        raise CannotStart(
            f"The serving application did not start ({_first_line(error)}): see {settings.home}/logs/ray."
        ) from error


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


def take_down(settings: ServingSettings, paths: RayPaths) -> None:
    """Drain the replicas for a moment, end Ray, and leave no process and no file of this run behind."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    draining = threading.Thread(target=_drain, daemon=True)
    draining.start()
    draining.join(DRAIN_SECONDS)
    if "ray" in sys.modules:
        with suppress(Exception):
            sys.modules["ray"].shutdown()
    end_family(str(paths.temp), patience_seconds=2)
    forget_run(settings.home, paths)


def _drain() -> None:
    """First the replicas, which finish what is in flight, then HAProxy: Serve's own shutdown ends it at once."""
    serve = sys.modules.get("ray.serve")
    if serve:
        with suppress(Exception):
            serve.delete(APPLICATION)
            serve.shutdown()


def run(settings: ServingSettings) -> None:
    """From nothing to serving, until SIGTERM or SIGINT. Raises CannotStart."""
    say("checkpoint", model=verify(settings).model_id)
    check_port(settings)
    remove_abandoned_runs(settings.home)
    paths = prepare_paths(settings.home)
    remember_run(settings.home, paths)
    try:
        end_on_signals()
        export(settings, paths)
        say("ray")
        cores = start_ray(settings, paths)
        end_on_signals()  # Ray installs its own handler of SIGTERM
        say("proxy")
        serve_application(settings, cores)
        wait_until_routed(settings)
        say("ready", address=f"http://{settings.host}:{settings.port}")
        threading.Event().wait()
    except KeyboardInterrupt:
        say("stopping")
    except CannotStart:
        keep_ray_logs(settings.home, paths)
        raise
    finally:
        take_down(settings, paths)


def end_on_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.start", description=__doc__)
    parser.add_argument("--verify-only", action="store_true", help="check settings and checkpoint, start nothing")
    only_verify = parser.parse_args().verify_only
    try:
        settings = read_settings()
        if only_verify:
            say("checkpoint", model=verify(settings).model_id)
        else:
            run(settings)
    except CannotStart as error:
        print(str(error), file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
