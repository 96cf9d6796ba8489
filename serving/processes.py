"""Knows which processes and files belong to one run of the serving application, and removes them when it is over."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from serving.ray_environment import RayPaths

RUN_VARIABLE = "COUNTERSIGN_SERVING_RUN"  # in the environment of every process that this run starts


def family(run: str) -> Iterator[psutil.Process]:
    """Every living process, other than this one, that was started for that run, also one whose parent has died."""
    mark = f"{RUN_VARIABLE}={run}\0".encode()
    for process in psutil.process_iter():
        # Read whole: psutil's environ() stops at the gap that Ray's renaming of its processes leaves at the front.
        with suppress(OSError):
            if process.pid != os.getpid() and mark in Path(f"/proc/{process.pid}/environ").read_bytes():
                yield process


def end_family(run: str, patience_seconds: float) -> int:
    """Ask all to end, wait, kill those that remain. Returns how many had to be killed."""
    members = list(family(run))
    for process in members:
        with suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(members, timeout=patience_seconds)
    stubborn = [*stubborn, *(late for late in family(run) if late not in stubborn)]
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=patience_seconds)
    return len(stubborn)


def remember_run(home: Path, paths: RayPaths) -> None:
    """Leave a note that the next start reads if this process dies without cleaning up."""
    born = psutil.Process().create_time()
    _note(home, paths).write_text(json.dumps({"pid": os.getpid(), "born": born, "temp": str(paths.temp)}))


def forget_run(home: Path, paths: RayPaths) -> None:
    shutil.rmtree(paths.temp, ignore_errors=True)
    _note(home, paths).unlink(missing_ok=True)


def keep_ray_logs(home: Path, paths: RayPaths) -> None:
    """Ray's own logs of a start that failed, where its message says they are: home/logs/ray."""
    kept = home / "logs" / "ray"
    shutil.rmtree(kept, ignore_errors=True)
    with suppress(OSError):
        shutil.copytree(paths.temp / "session_latest" / "logs", kept)


def remove_abandoned_runs(home: Path) -> int:
    """End what runs of this home left behind whose starting process is gone. Returns how many there were."""
    abandoned = 0
    for note in (home / "ray").glob("run-*.json"):
        try:
            left = json.loads(note.read_text())
            pid, born, temp = int(left["pid"]), float(left["born"]), Path(left["temp"])
        except (ValueError, KeyError, TypeError, OSError):
            note.unlink(missing_ok=True)
            continue
        if _lives(pid, born):
            continue
        end_family(str(temp), patience_seconds=3)
        if temp.name.startswith("csign-"):  # only ever remove what prepare_paths made
            shutil.rmtree(temp, ignore_errors=True)
        note.unlink(missing_ok=True)
        abandoned += 1
    return abandoned


def _lives(pid: int, born: float) -> bool:
    try:
        return bool(abs(psutil.Process(pid).create_time() - born) < 1)
    except psutil.NoSuchProcess:
        return False


def _note(home: Path, paths: RayPaths) -> Path:
    return home / "ray" / f"run-{paths.temp.name}.json"
