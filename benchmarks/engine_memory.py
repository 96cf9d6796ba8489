"""Whether an engine grows: ten thousand short requests, and the memory of driver and rank along the way."""

from __future__ import annotations

import itertools
import random
import uuid
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil

from serving.engine.engine import Engine
from serving.engine.generation import Generated, GenerationRequest, Message
from serving.engine.local import local_engine

REQUESTS, AT_ONCE, TOKENS = 10_000, 32, 4
WARM = 0.3  # of the requests: caches fill, allocators settle
_LOOKS = 8


def measure(checkpoint: Path, requests: int = REQUESTS, seed: int = 1) -> dict[str, Any]:
    """`memory_growth_mib`: resident memory of driver and rank at the end over that when they were warm, MiB; with
    `memory_mib`, a series of looks in between. Prompts differ, so that every cache is filled and emptied.
    """
    draw = random.Random(seed)
    with local_engine(checkpoint, ranks=1, kv_tokens=4096) as engine:
        processes = [psutil.Process(), psutil.Process(engine.reports[0].pid)]
        looks = []
        for _ in range(_LOOKS):
            _ask(engine, draw, requests // _LOOKS)
            looks.append(sum(process.memory_info().rss for process in processes) / 2**20)
    warm = looks[int(WARM * _LOOKS)]
    return {
        "memory_growth_mib": round(looks[-1] - warm, 1),
        "memory_mib": [round(look, 1) for look in looks],
        "memory_requests": requests // _LOOKS * _LOOKS,
    }


def _ask(engine: Engine, draw: random.Random, requests: int) -> None:
    """So many, a few at a time."""
    under_way: list[Future[Generated]] = []
    for number in itertools.count():
        if number < requests:
            under_way.append(engine.submit(_request(draw)))
        while under_way and (number >= requests or len(under_way) >= AT_ONCE):
            under_way.pop(0).result()
        if number >= requests:
            return


def _request(draw: random.Random) -> GenerationRequest:
    text = "".join(chr(draw.randrange(97, 123)) for _ in range(draw.randrange(8, 120)))
    salt = "one" if draw.random() < 0.5 else uuid.uuid4().hex
    return GenerationRequest(
        str(uuid.uuid4()), (Message("user", text),), max_tokens=TOKENS, temperature=1.0, cache_salt=salt
    )
