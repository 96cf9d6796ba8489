"""What HTTP, HAProxy and Ray Serve add to an answer: the time a caller of serving waits, less what the answer took."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import Any

import aiohttp

from benchmarks.own_product import started_product
from launch.parts import serving_url
from training.fresh_questions import fresh

ASKS, WARM = 200, 20
_PARTS = ("queue", "prefill", "decode", "verification", "confidence")  # of an answer's timings


def measure(seed: int = 1) -> dict[str, Any]:
    """`overhead_p50_ms` and `overhead_p90_ms`, one ask after another. Raises launch.errors.CannotStart."""
    with started_product() as (product, _):
        found = asyncio.run(_ask(serving_url(product.settings), product.wiring.serving_token, seed))
    found = sorted(found)
    return {
        "overhead_p50_ms": round(statistics.median(found), 2),
        "overhead_p90_ms": round(found[int(0.9 * len(found))], 2),
        "overhead_asks": len(found),
    }


async def _ask(url: str, token: str, seed: int) -> list[float]:
    """Milliseconds each."""
    draw, found = random.Random(seed), []
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}) as http:
        for number in range(WARM + ASKS):
            text = fresh(draw, for_measuring=True).text
            body = {"messages": [{"role": "user", "content": text}], "temperature": 0.0}
            began = time.perf_counter()
            async with http.post("/ask", json=body) as response:
                answer = await response.json()
            taken = 1e3 * (time.perf_counter() - began)
            if number >= WARM:
                found.append(taken - sum(answer["timings_ms"].get(part, 0.0) for part in _PARTS))
    return found
