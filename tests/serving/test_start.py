"""Starting the serving application refuses in one sentence what cannot work, and starts nothing then."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import serving.start
from serving.ports import free_port
from serving.ray_environment import prepare_paths
from serving.settings import REFERENCE_CHECKPOINT, ServingSettings
from tests.serving_process import serving_environment


def start(home: Path, *arguments: str, port: int | None = None, **settings: object) -> subprocess.CompletedProcess[str]:
    environment = serving_environment(home, port or free_port(), **settings)
    command = [sys.executable, "-m", "serving.start", *arguments]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=60, check=False)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> bool:
    """It ended with status 1 and one line on stderr that holds every word, and left no Ray behind."""
    return done.returncode == 1 and done.stderr.count("\n") == 1 and all(word in done.stderr for word in words)


def test_a_missing_checkpoint_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = start(tmp_path, checkpoint=tmp_path / "nowhere")

    assert refused(done, "nowhere", "COUNTERSIGN_CHECKPOINT")
    assert not (tmp_path / "ray").exists()


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(REFERENCE_CHECKPOINT, foreign)
    (foreign / "config.json").write_text(json.dumps({"model_type": "llama"}))

    assert refused(start(tmp_path, "--verify-only", checkpoint=foreign), "llama", "afmoe")


def test_a_busy_port_is_refused_and_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(start(tmp_path, port=port), str(port), "COUNTERSIGN_PORT")


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"ranks": 17}, "COUNTERSIGN_RANKS"), ({"replicas": "many"}, "COUNTERSIGN_REPLICAS")],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, settings: dict[str, object], word: str) -> None:
    assert refused(start(tmp_path, "--verify-only", **settings), word)


def test_verifying_names_the_model_and_starts_nothing(tmp_path: Path) -> None:
    done = start(tmp_path, "--verify-only")

    assert done.returncode == 0
    assert json.loads(done.stdout)["model"].startswith("countersign-reference@")
    assert not (tmp_path / "ray").exists()


@pytest.mark.parametrize(("ends_at", "drains"), [("start_ray", 0), ("start_proxy", 0), ("start_replicas", 1)])
def test_a_start_that_is_told_to_end_drains_only_what_may_have_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_at: str, drains: int
) -> None:
    """Serve waits in vain for the end of what it has not begun: seven seconds are then granted for nothing."""
    drained: list[bool] = []

    def end(*_: object) -> int:
        raise KeyboardInterrupt

    for step in ("start_ray", "start_proxy", "start_replicas"):
        monkeypatch.setattr(serving.start, step, end if step == ends_at else lambda *_: 2)
    monkeypatch.setattr(serving.start, "export", lambda *_: None)
    monkeypatch.setattr(serving.start, "drain", lambda: drained.append(True))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        paths = prepare_paths(tmp_path)
        serving.start.serve_until_told(ServingSettings(home=tmp_path), paths)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert len(drained) == drains
    assert not paths.temp.exists()
