"""Kills one rank after another under load: how long each repair takes, and whether any caller noticed."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import secrets
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.machine import machine
from benchmarks.own_product import keys_of, started_product
from benchmarks.queue_leases import percentile
from benchmarks.repair_caller import Asked, RepairFailed, Undisturbed, ask_until, read_held, undisturbed
from benchmarks.repair_kills import Repair, kill_ranks, repairs_of
from launch.errors import CannotStart
from launch.parts import serving_url
from launch.product import Product
from training.fresh_questions import fresh

NEAR_TIE = 1e-3  # nats: below it the order of summing in another batch may choose the other token
PATIENCE_SECONDS = 60.0  # for the repair after the last kill


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every loss was repaired and no caller noticed, 1 otherwise, 130 after Ctrl-C."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the product is stopped on the way
    os.environ["COUNTERSIGN_SPARE_RANKS"] = str(options.spare_ranks)  # serving inherits it
    try:
        with started_product() as (product, url):
            measured = asyncio.run(_measure(product, url, options))
    except (CannotStart, RepairFailed) as error:
        print(f"repair: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(measured, indent=None if options.json else 2))
    return 0 if is_sound(measured) else 1


def is_sound(measured: dict[str, Any]) -> bool:
    return bool(measured["kills"]) and not any(measured[name] for name in ("unrepaired", "failed", "different_answers"))


async def _measure(product: Product, url: str, options: argparse.Namespace) -> dict[str, Any]:
    draw, busy = random.Random(options.seed), machine()
    key, reviewer_key = keys_of(product)
    questions = [fresh(draw, for_measuring=True).text for _ in range(options.questions)]
    serving = serving_url(product.settings), product.wiring.serving_token
    expected = await undisturbed(*serving, questions, options.callers)
    print(
        f"{len(questions)} questions answered undisturbed; now a rank dies every {options.every:g} s", file=sys.stderr
    )
    log = product.settings.home / "logs" / "replicas.log"
    over = asyncio.Event()
    asking = asyncio.create_task(ask_until(over, url, key, questions, options.callers))
    try:
        kills = await kill_ranks(log, draw, options.every, options.minutes * 60)
        repairs = await repairs_of(log, kills, PATIENCE_SECONDS)
    finally:
        over.set()
    asked = await read_held(url, reviewer_key, await asking)
    return {
        "kills": len(kills),
        "unrepaired": len(kills) - len(repairs),
        **figures(asked, expected, repairs),
        "questions": len(questions),
        "callers": options.callers,
        "replicas": product.settings.replicas,
        "ranks": product.settings.ranks,
        "spare_ranks": options.spare_ranks,
        "minutes": options.minutes,
        "every": options.every,
        "seed": options.seed,
        "load": os.getloadavg()[0],
        "machine": busy,
    }


def figures(asked: Sequence[Asked], expected: Sequence[Undisturbed], repairs: Sequence[Repair]) -> dict[str, Any]:
    """`different_answers` counts where the undisturbed answer was never a near tie; others are counted apart."""
    failed = [one for one in asked if one.text is None]
    differing = [one for one in asked if one.text is not None and one.text != expected[one.question].text]
    decided = [one for one in differing if expected[one.question].least_margin > NEAR_TIE]
    seconds, took = [repair.seconds for repair in repairs], [one.seconds for one in asked]
    return {
        "in_place": sum(repair.in_place for repair in repairs),
        "repair_s": {
            "median": round(statistics.median(seconds), 2) if seconds else None,
            "max": round(max(seconds), 2) if seconds else None,
        },
        "requests": len(asked),
        "failed": len(failed),
        "failed_by_status": dict(Counter(str(one.status) for one in failed)),
        "different_answers": len(decided),
        "different_at_near_ties": len(differing) - len(decided),
        "near_tie_questions": sum(answer.least_margin <= NEAR_TIE for answer in expected),
        "answer_s": {"p50": _rounded(percentile(took, 0.5)), "p99": _rounded(percentile(took, 0.99))},
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench repair", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long ranks are killed")
    parser.add_argument("--every", type=float, default=10.0, help="seconds from one kill to the next")
    parser.add_argument("--spare-ranks", type=int, choices=(0, 1), default=1, help="COUNTERSIGN_SPARE_RANKS")
    parser.add_argument("--questions", type=int, default=60, help="different questions, asked over and over")
    parser.add_argument("--callers", type=int, default=6, help="requests under way at a time")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31), help="drawn anew each time unless given")
    parser.add_argument("--json", action="store_true", help="the last line on standard output is one JSON object")
    options = parser.parse_args(arguments)
    if min(options.minutes, options.every, options.questions, options.callers) <= 0:
        parser.error("--minutes, --every, --questions and --callers must be positive")
    return options


if __name__ == "__main__":
    sys.exit(main())
