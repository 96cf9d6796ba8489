"""The loop, measured from outside: fresh questions over HTTP, decisions from the audit log, held texts from reviews."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.loop_caller import LoopFailed, Outcome, ask_all
from benchmarks.loop_figures import figures, share_released
from benchmarks.machine import machine
from benchmarks.own_product import own_product
from launch.errors import CannotStart
from training.fresh_questions import fresh

FOREIGN = 300  # questions of GSM8K


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 1 when the product failed, 2 when something asked for is not there, 130 after Ctrl-C."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # an own product is stopped on the way
    try:
        strange = foreign_questions()
        with _product(options) as (url, key, reviewer_key):
            measured = measure(url, (key, reviewer_key), options.questions, options.seed, strange)
    except FileNotFoundError as error:
        print(f"loop: {error}", file=sys.stderr)
        return 2
    except (CannotStart, LoopFailed) as error:
        print(f"loop: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(measured) if options.json else json.dumps(measured, indent=2))
    return 0


def measure(url: str, keys: tuple[str, str], count: int, seed: int, strange: Sequence[str]) -> dict[str, Any]:
    """Ask `count` fresh questions of the half no calibration has seen, then the foreign ones, and sum up.

    `keys`: one that asks and audits, one that reviews.
    """
    rng = random.Random(seed)
    questions = [fresh(rng, for_measuring=True) for _ in range(count)]
    busy = machine()
    begun = time.monotonic()
    outcomes = _ask(url, keys, [question.text for question in questions], "own questions")
    seconds = time.monotonic() - begun
    foreign = _ask(url, keys, strange, "foreign questions") if strange else []
    return {
        **figures(questions, outcomes),
        "ood_released": round(share_released(foreign), 4) if foreign else None,
        "ood_questions": len(foreign),
        "questions": count,
        "seed": seed,
        "seconds": round(seconds, 1),
        "load": os.getloadavg()[0],
        "machine": busy,
    }


def foreign_questions() -> list[str]:
    """GSM8K's first 300 test questions; none where COUNTERSIGN_DATA is not set. Raises FileNotFoundError."""
    data = os.environ.get("COUNTERSIGN_DATA")
    if not data:
        return []
    path = Path(data) / "gsm8k" / "test_even.jsonl"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: COUNTERSIGN_DATA must name the folder that holds gsm8k/ (from the GitHub "
            "repository openai/grade-school-math, MIT), or be unset to leave the foreign questions out."
        )
    lines = path.read_text(encoding="utf-8").splitlines()[:FOREIGN]
    return [json.loads(line)["question"] for line in lines]


def _ask(url: str, keys: tuple[str, str], questions: Sequence[str], what: str) -> list[Outcome]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=len(questions))
        return asyncio.run(ask_all(url, *keys, questions, lambda: progress.advance(task)))


def _product(options: argparse.Namespace) -> AbstractContextManager[tuple[str, str, str]]:
    theirs = (options.gateway, options.key, options.reviewer_key)
    return nullcontext(theirs) if options.gateway else own_product()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench loop", description=__doc__)
    parser.add_argument("--questions", type=int, default=2_000, help="fresh questions with known answers")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31), help="drawn anew each time unless given")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    parser.add_argument("--gateway", help="address of a running gateway; otherwise the product is started")
    parser.add_argument("--key", help="its key that asks, with the roles caller and auditor, of a tenant of its own")
    parser.add_argument("--reviewer-key", help="another key of that tenant, with the role reviewer: reads held answers")
    options = parser.parse_args(arguments)
    if options.questions < 1:
        parser.error("--questions must be at least 1")
    if len({bool(options.gateway), bool(options.key), bool(options.reviewer_key)}) > 1:
        parser.error("--gateway, --key and --reviewer-key go together")
    if options.key and options.key == options.reviewer_key:
        parser.error("--reviewer-key must be another key: held answers are withheld from the key that asked")
    return options


if __name__ == "__main__":
    sys.exit(main())
