"""Kills one rank after another by what the replicas write into their log, and reads there when each was replaced."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Gang:
    """A replica whose ranks are at work."""

    replica: str
    epoch: int
    pids: tuple[int, ...]  # by rank
    at: float  # since when, unix seconds


@dataclass(frozen=True, slots=True)
class Kill:
    gang: Gang  # as it was
    rank: int
    at: float  # unix seconds


@dataclass(frozen=True, slots=True)
class Repair:
    kill: Kill
    seconds: float  # from the kill until the gang was at work again
    in_place: bool  # every other rank kept its process


async def kill_ranks(log: Path, draw: random.Random, every: float, seconds: float) -> list[Kill]:
    """One rank every so often, of a gang that is at work; gangs take turns as far as they are."""
    kills: list[Kill] = []
    began, due, last = time.monotonic(), every, ""
    while due < seconds:
        await asyncio.sleep(max(LOOK_SECONDS, began + due - time.monotonic()))
        due = max(due, time.monotonic() - began)
        gangs = at_work(log)
        if not gangs:
            continue
        due += every
        gang = next((gang for gang in gangs if gang.replica != last), gangs[0])
        rank = draw.randrange(len(gang.pids))
        with suppress(ProcessLookupError):
            os.kill(gang.pids[rank], signal.SIGKILL)
        kills.append(Kill(gang, rank, time.time()))
        last = gang.replica
    return kills


async def repairs_of(log: Path, kills: list[Kill], patience: float) -> list[Repair]:
    """In order of the kills; one that was not repaired within `patience` seconds is left out."""
    give_up = time.monotonic() + patience
    while True:
        found = repairs_in(log, kills)
        if len(found) == len(kills) or time.monotonic() > give_up:
            return found
        await asyncio.sleep(LOOK_SECONDS)


def repairs_in(log: Path, kills: list[Kill]) -> list[Repair]:
    ready = [gang for gang, is_lost in _told(log) if not is_lost]
    repairs = []
    for kill in kills:
        before = kill.gang
        after = next((gang for gang in ready if gang.replica == before.replica and gang.epoch > before.epoch), None)
        if after is not None:
            kept = [pid == after.pids[rank] for rank, pid in enumerate(before.pids) if rank != kill.rank]
            repairs.append(Repair(kill, after.at - kill.at, all(kept)))
    return repairs


def at_work(log: Path) -> list[Gang]:
    """Replicas whose last word is that their ranks are ready, longest ready first."""
    last: dict[str, tuple[Gang, bool]] = {}
    for gang, is_lost in _told(log):
        last[gang.replica] = gang, is_lost
    return sorted((gang for gang, is_lost in last.values() if not is_lost), key=lambda gang: gang.at)


def _told(log: Path) -> Iterator[tuple[Gang, bool]]:
    """Each gang that became ready, or lost a rank, in order."""
    for line in log.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):  # the last line may be on its way
            told: dict[str, Any] = json.loads(line)
            if told.get("event") in ("gang.ready", "rank.lost"):
                at = datetime.fromisoformat(told["timestamp"]).timestamp()
                pids = tuple(told.get("pids", ()))
                yield Gang(told["replica"], told["epoch"], pids, at), told["event"] == "rank.lost"
