"""Times greedy generation the same way for every engine; needs nothing but Python, as it runs in any environment."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# prompts and how many new tokens each shall get; the new tokens of each
Generate = Callable[[list[list[int]], int], list[list[int]]]
Clock = Callable[[], float]  # seconds of the processor
Times = tuple[float, float]  # on the wall, of the processor


@dataclass(frozen=True, slots=True)
class Asked:
    """`tokens` is the shorter of the two lengths; the longer one is twice that."""

    checkpoint: str
    prompts: list[list[int]]  # of one length; a batch takes as many as it needs
    batches: list[int]
    tokens: int
    rounds: int

    @property
    def most_tokens(self) -> int:
        """Of one sequence, prompt and generated together."""
        return len(self.prompts[0]) + 2 * self.tokens


class WrongLength(Exception):
    """An engine generated more or fewer tokens than it was asked for, so its time says nothing."""


def all_rates(generate: Generate, asked: Asked) -> dict[int, dict[str, Any]]:
    """By batch. Raises WrongLength."""
    return {batch: rates(generate, asked, batch) for batch in asked.batches}


def rates(generate: Generate, asked: Asked, batch: int, clock: Clock = time.process_time) -> dict[str, Any]:
    """Decode tokens/s of `batch` sequences: what twice as many tokens take longer, so that prompts drop out.

    `tok_s` is by the time on the wall, `tok_s_used` by the processor time of `clock`, which others on the machine
    change less; `ids` are the longer answers. Raises WrongLength.
    """
    prompts, short, long = asked.prompts[:batch], asked.tokens, 2 * asked.tokens
    ids, _ = _timed(generate, prompts, long, clock)  # compiles, loads and fills what is done once
    _timed(generate, prompts, short, clock)
    rounds = [
        (_timed(generate, prompts, short, clock)[1], _timed(generate, prompts, long, clock)[1])
        for _ in range(asked.rounds)
    ]
    wall, used = ([(a[place], b[place]) for a, b in rounds] for place in (0, 1))
    found = {"tok_s": rate(wall, batch * short), "tok_s_used": rate(used, batch * short)}
    print(f"{batch} sequences: {found['tok_s']} tokens/s", file=sys.stderr, flush=True)
    return {**found, "seconds": wall, "ids": ids}


def rate(pairs: Sequence[tuple[float, float]], tokens: int) -> float | None:
    """The median over `pairs`, seconds of shorter and longer answers; those are `tokens` longer. None: all noise."""
    seconds = statistics.median(long - short for short, long in pairs)
    return round(tokens / seconds, 1) if seconds > 0 else None


def read(path: str) -> Asked:
    return Asked(**json.loads(Path(path).read_text(encoding="utf-8")))


def write(asked: Asked, path: Path) -> None:
    path.write_text(json.dumps(asdict(asked)), encoding="utf-8")


def answer(path: str, batches: Mapping[int, Mapping[str, Any]], versions: Mapping[str, str]) -> None:
    """Into a file: some engines write to standard output as they please."""
    found = {"batches": batches, "versions": versions, "load": [round(load, 2) for load in os.getloadavg()]}
    Path(path).write_text(json.dumps(found), encoding="utf-8")


def timed(generate: Generate, prompts: list[list[int]], tokens: int) -> tuple[list[list[int]], float]:
    """What came, and the seconds on the wall. Raises WrongLength."""
    ids, (seconds, _) = _timed(generate, prompts, tokens, time.process_time)
    return ids, seconds


def _timed(generate: Generate, prompts: list[list[int]], tokens: int, clock: Clock) -> tuple[list[list[int]], Times]:
    began, before = time.perf_counter(), clock()
    ids = generate(prompts, tokens)
    taken = time.perf_counter() - began, clock() - before
    if [len(row) for row in ids] != [tokens] * len(prompts):
        raise WrongLength(f"{sorted({len(row) for row in ids})} tokens instead of {tokens}")
    return ids, taken
