"""Runs in vLLM's environment: asks vLLM the questions, ends it in every way there is, and writes what came."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.backends_asked import requests
from benchmarks.backends_compared import differences, generated_to_json
from serving.backends.vllm.engine import VllmEngine
from serving.backends.vllm.local import local_vllm
from serving.engine.errors import ContextTooLong, EngineError
from serving.engine.generation import Generated

SECONDS = 120.0
KV_BYTES = 64 << 20


def ask(checkpoint: Path, home: Path, tensor: int) -> dict[str, Any]:
    """The answers under "answers"; what else was tried, each under its name."""
    since = time.monotonic()
    with local_vllm(checkpoint, home, tensor=tensor, kv_bytes=KV_BYTES) as engine:
        start_seconds = time.monotonic() - since
        futures = [engine.submit(request) for request in requests()]
        answers = [future.result(SECONDS) for future in futures]
        found: dict[str, Any] = {"answers": answers, "start_seconds": start_seconds} | contract(engine, answers)
        found["many_at_once_agree"] = crowd(engine, answers)
        found["lost_worker_is_typed"] = lose_worker(engine)
        processes = psutil.Process().children(recursive=True)
    return {**found, "processes_left": sum(process.is_running() for process in processes)}


def contract(engine: VllmEngine, greedy: list[Generated]) -> dict[str, Any]:
    """What a caller may rely on beside the numbers."""
    asked = requests()[0]
    seeded = replace(asked, temperature=1.0, seed=7)
    drawn = [engine.submit(replace(seeded, request_id=name)).result(SECONDS) for name in ("one", "two")]
    several = [replace(seeded, request_id=f"many-{seed}", seed=seed) for seed in (1, 2, 7, 3)]
    beside = [future.result(SECONDS) for future in [engine.submit(request) for request in several]]
    text = greedy[0].text
    stop = next(piece for piece in (token.text for token in greedy[0].tokens[4:]) if piece)
    stopped = engine.submit(replace(asked, stop=(stop,))).result(SECONDS)
    given_up = engine.submit(replace(asked, request_id="given-up", max_tokens=200))
    given_up.cancel()
    try:
        given_up.result(SECONDS)
        cancelled = False
    except CancelledError:
        cancelled = True
    try:
        engine.submit(replace(asked, request_id="long", max_tokens=10_000))
        refused = False
    except ContextTooLong:
        refused = True
    return {
        "a_seed_repeats": len({one.text for one in [*drawn, beside[2]]}) == 1,
        "seeds_differ": len({one.text for one in beside}) > 1,
        "pieces_join": all("".join(token.text for token in one.tokens) == one.text for one in [*greedy, *drawn]),
        "a_stop_ends": stopped.finish_reason == "stop" and stopped.text == text[: text.index(stop)],
        "cancelled": cancelled,
        "context_is_refused": refused,
    }


def crowd(engine: VllmEngine, alone: list[Generated]) -> bool:
    """Whether each answer and all that is measured of it is what it was, to a thousandth, when many are under way."""
    asked = [
        replace(request, request_id=f"{request.request_id}-{turn}") for turn in range(12) for request in requests()
    ]
    found = [future.result(SECONDS) for future in [engine.submit(request) for request in asked]]
    return all(
        differences(alone[place % len(alone) :][:1], [generated]).within for place, generated in enumerate(found)
    )


def lose_worker(engine: VllmEngine) -> bool:
    """Killed in the middle of an answer: whether its caller hears what happened, and the engine that it is lost."""
    future = engine.submit(replace(requests()[0], request_id="lost", max_tokens=200))
    os.kill(engine.reports[-1].pid, signal.SIGKILL)
    try:
        future.result(SECONDS)
    except EngineError as error:
        return type(error).__name__ == "RankLost" and engine.lost is not None
    return False


def orphans(checkpoint: Path, home: Path) -> int:
    """How many of vLLM's processes outlive their owner's SIGKILL by more than a few seconds."""
    command = [sys.executable, "-m", "benchmarks.backends_vllm", "wait", str(checkpoint), str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:  # noqa: S603
        assert owner.stdout is not None
        for line in owner.stdout:
            if line.startswith("pids"):
                break
        processes = psutil.Process(owner.pid).children(recursive=True)
        owner.kill()
    _, left = psutil.wait_procs(processes, timeout=20)
    for process in left:
        process.kill()
    return len(left) if processes else -1


def wait(checkpoint: Path, home: Path) -> None:
    with local_vllm(checkpoint, home, kv_bytes=KV_BYTES):
        print("pids", flush=True)
        signal.pause()


def main() -> None:
    what, checkpoint, home = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if what == "wait":
        wait(checkpoint, home)
    elif what == "orphans":
        Path(sys.argv[4]).write_text(json.dumps(orphans(checkpoint, home)))
    else:
        found = ask(checkpoint, home, tensor=int(what))
        found["answers"] = [generated_to_json(answer) for answer in found["answers"]]
        Path(sys.argv[4]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
