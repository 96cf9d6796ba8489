"""Starting the serving application refuses in one sentence what cannot work, and leaves nothing behind at its end."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from serving.ports import free_port
from serving.processes import remove_abandoned_runs
from serving.settings import REFERENCE_CHECKPOINT
from tests.serving_process import running_serving, serving_environment, stop, stopped_ranks, until


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


def test_sigterm_lets_an_ask_finish_and_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    question = {"messages": [{"role": "user", "content": "What is 12 + 30?"}]}
    with running_serving(tmp_path) as serving, serving.client() as client, ThreadPoolExecutor(1) as pool:
        processes, temp = serving.processes(), Path(serving.run)
        with stopped_ranks(serving):
            asked = pool.submit(client.post, "/ask", json=question)
            until(lambda: client.get("/health").json()["asks"] == 1)
            serving.process.terminate()
            assert json.loads(serving.process.stdout.readline())["step"] == "stopping"  # type: ignore[union-attr]
        stop(serving.process)

    assert asked.result().status_code == 200
    assert "replica.stopped" in (tmp_path / "logs" / "replicas.log").read_text()  # spans were flushed
    assert [step["step"] for step in serving.steps] == ["checkpoint", "ray", "proxy", "replicas", "ready"]
    assert serving.process.returncode == 0
    assert not [process for process in processes if process.is_running()]
    assert not temp.exists()
    assert (tmp_path / "ray" / "token").stat().st_mode & 0o777 == 0o600


def test_after_kill_9_the_next_start_removes_what_remained(tmp_path: Path) -> None:
    with running_serving(tmp_path) as serving:
        processes, temp = serving.processes(), Path(serving.run)
        serving.process.kill()
        serving.process.wait()

        assert remove_abandoned_runs(tmp_path) == 1  # what `python -m serving.start` does first

    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not temp.exists()
