"""Which fault strikes when, and where: all of it follows from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of breaking something."""

    name: str
    per_minute: float
    seconds: tuple[float, float] = (0.0, 0.0)  # shortest and longest duration
    kills_ray: bool = False
    stage: str = "world"  # "world", "ray" (only with a real serving application) or "embedded"


@dataclass(frozen=True, slots=True)
class Fault:
    """What strikes at `at` seconds after the start; `aim` in [0, 1) chooses among the possible targets."""

    step: int
    at: float
    kind: str
    aim: float
    seconds: float
    number: int  # for kinds that count: after how many durable steps a part dies


KINDS = (
    Kind("cut database connections", 16),
    Kind("delay database", 16, (0.02, 0.3)),
    Kind("lose database replies", 15, (0.05, 0.4)),
    Kind("swallow database traffic", 8, (0.3, 1.5)),
    Kind("terminate database backend", 10),
    Kind("cancel statements", 8),
    Kind("lock tables", 4, (0.5, 1.2)),
    Kind("crash database backend", 2.2),
    Kind("stop database backend", 2.4, (0.5, 2.0)),
    Kind("restart database at once", 2.2),
    Kind("kill postmaster", 2.2),
    Kind("cut valkey connections", 16),
    Kind("delay valkey", 12, (0.02, 0.3)),
    Kind("lose valkey replies", 14, (0.05, 0.4)),
    Kind("flush valkey", 20),
    Kind("kill valkey", 2.4),
    Kind("stop valkey", 2.4, (2.2, 3.0)),
    Kind("empty valkey", 2.4),
    Kind("kill replica valkey", 2.3),
    Kind("stop replica valkey", 2.3, (0.5, 2.0)),
    Kind("promote lagging replica", 2.4, (0.5, 1.5)),
    Kind("fill valkey's memory", 2.4, (0.5, 1.5)),
    Kind("cut callers", 16),
    Kind("delay callers", 14, (0.02, 0.3)),
    Kind("lose callers' replies", 16, (0.05, 0.5)),
    Kind("half-close callers", 14),
    Kind("kill gateway", 2.4),
    Kind("stop gateway", 2.4, (2.2, 3.5)),
    Kind("kill gateway at a durable step", 3.6),
    Kind("kill worker", 2.4),
    Kind("stop worker", 2.4, (10.5, 12.0)),  # past its lease in the database
    Kind("kill worker at a durable step", 4.5),
    Kind("kill rank", 0.8, kills_ray=True, stage="ray"),
    Kind("kill replica", 0.7, kills_ray=True, stage="ray"),
    Kind("kill HAProxy", 0.7, kills_ray=True, stage="ray"),
    Kind("stop rank", 2.4, (0.5, 2.0), stage="ray"),
    Kind("stop replica", 2.4, (0.5, 2.0), stage="ray"),
    Kind("stop HAProxy", 2.4, (0.5, 2.0), stage="ray"),
    Kind("cut serving connections", 10, stage="ray"),
    Kind("delay serving", 10, (0.02, 0.3), stage="ray"),
    Kind("lose serving's replies", 9, (0.05, 0.5), stage="ray"),
    Kind("fill the disk", 2.4, (0.3, 0.8), stage="embedded"),
    Kind("lock the database file", 2.4, (0.3, 0.8), stage="embedded"),
    Kind("kill the embedded gateway", 4, stage="embedded"),
    Kind("stop the embedded gateway", 4, (0.3, 2.4), stage="embedded"),
    Kind("kill the embedded gateway at a durable step", 2.6, stage="embedded"),
)
BY_NAME = {kind.name: kind for kind in KINDS}


def kinds_of(stages: Iterable[str]) -> tuple[Kind, ...]:
    wanted = set(stages)
    return tuple(kind for kind in KINDS if kind.stage in wanted)


def schedule(
    seed: int, seconds: float, kinds: Iterable[Kind], *, minutes: float | None = None, intensity: float = 1.0
) -> list[Fault]:
    """Faults in order of time over `seconds`: of each kind as many as belong to `minutes` (those of `seconds`
    where none is given), at least one, each at a random moment of its own share of the time."""
    chance = random.Random(seed)
    share = (seconds / 60 if minutes is None else minutes) * intensity
    drawn: list[tuple[float, str, float, float, int]] = []
    for kind in kinds:
        count = max(1, round(kind.per_minute * share))
        for number in range(count):
            at, aim = (number + chance.random()) * seconds / count, chance.random()
            drawn.append((at, kind.name, aim, chance.uniform(*kind.seconds), chance.randint(1, 60)))
    return [Fault(step, *one) for step, one in enumerate(sorted(drawn))]
