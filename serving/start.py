"""Starts Ray and the serving application, says each step as a line of JSON, and takes everything down again."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from serving.backends.choice import ranks_of
from serving.checks import CannotStart, check_port, read_settings, verify
from serving.cluster import drain, start_proxy, start_ray, start_replicas, wait_until_routed
from serving.processes import (
    RUN_VARIABLE,
    end_family,
    forget_run,
    keep_ray_logs,
    remember_run,
    remove_abandoned_runs,
)
from serving.ray_environment import RayPaths, prepare_paths, ray_environment
from serving.settings import ServingSettings

DRAIN_SECONDS = 7.0  # of the ten that a caller of SIGTERM grants
BEGAN = time.monotonic()
LINES = os.fdopen(os.dup(1), "w")  # stays the caller's while Ray's chatter is led elsewhere


def say(step: str, **facts: Any) -> None:
    """One line of JSON on stdout: {"step": …, "seconds": since the process began, …}."""
    print(json.dumps({"step": step, "seconds": round(time.monotonic() - BEGAN, 1), **facts}), file=LINES, flush=True)


def export(settings: ServingSettings, paths: RayPaths) -> None:
    """Ray's workers inherit this environment: the replicas read their settings from it."""
    os.environ.update(ray_environment(paths))
    os.environ[RUN_VARIABLE] = os.environ["TMPDIR"] = str(paths.temp)
    os.environ["COUNTERSIGN_HOME"] = str(settings.home)
    os.environ["COUNTERSIGN_CHECKPOINT"] = str(settings.checkpoint)
    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))


def take_down(settings: ServingSettings, paths: RayPaths, *, has_served: bool) -> None:
    """Drain what replicas there may be for a moment, end Ray, and leave no process and no file of this run behind."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if has_served:
        draining = threading.Thread(target=drain, daemon=True)
        draining.start()
        draining.join(DRAIN_SECONDS)
    if "ray" in sys.modules:
        with suppress(Exception):
            sys.modules["ray"].shutdown()
    end_family(str(paths.temp), patience_seconds=2)
    forget_run(settings.home, paths)


def run(settings: ServingSettings) -> None:
    """From nothing to serving, until SIGTERM or SIGINT. Raises CannotStart."""
    say("checkpoint", model=verify(settings).model_id)
    check_port(settings)
    with chatter_into(settings.home / "logs" / "ray.log"):
        remove_abandoned_runs(settings.home)
        paths = prepare_paths(settings.home)
        remember_run(settings.home, paths)
        serve_until_told(settings, paths)


def serve_until_told(settings: ServingSettings, paths: RayPaths) -> None:
    has_served = False
    try:
        end_on_signals()
        export(settings, paths)
        say("ray")
        cores = start_ray(settings, paths.temp)
        end_on_signals()  # Ray installs its own handler of SIGTERM
        say("proxy")
        start_proxy(settings)
        say("replicas", replicas=settings.replicas, ranks=ranks_of(settings))
        has_served = True  # the first replica may answer before the last is there
        start_replicas(settings, cores)
        wait_until_routed(settings)
        say("ready", address=f"http://{settings.host}:{settings.port}")
        threading.Event().wait()
    except KeyboardInterrupt:
        say("stopping")
    except CannotStart:
        keep_ray_logs(settings.home, paths)
        raise
    finally:
        take_down(settings, paths, has_served=has_served)


@contextmanager
def chatter_into(path: Path) -> Iterator[None]:
    """Ray and Serve write as they please; stdout is for the lines of `say`, stderr for one sentence of a failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {number: os.dup(number) for number in (1, 2)}
    with open(path, "ab") as file:
        for number in own:
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        for number, kept in own.items():
            os.dup2(kept, number)
            os.close(kept)


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
