"""The stages of a run, each in a world of its own: PostgreSQL with Valkeys and Ray, and the embedded set-up."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from tests.faults import embedded, lives, trial
from tests.faults.embedded import EmbeddedWorld
from tests.faults.ray_faults import RayFaults
from tests.faults.report import Report
from tests.faults.schedule import Fault, kinds_of, schedule
from tests.faults.trial import Load
from tests.faults.world import Wanted, World
from tests.mutations.catalogue import BY_NAME
from tests.mutations.tree import ROOT, mutated_tree
from tests.serving_process import RunningServing, running_serving


@dataclass(frozen=True, slots=True)
class Plan:
    """How a stage is to be run."""

    seed: int
    seconds: float
    minutes: float | None = None  # as many faults as belong to so long a time; None: to the stage's own seconds
    intensity: float = 1.0
    without: str = ""  # a mechanism of tests.mutations.catalogue that is taken out
    leave_out: tuple[str, ...] = ()  # kinds that are not wanted
    keep: Path | None = None  # where the stage's history, faults and logs are put


WITH_RAY = Load(instant_callers=14, ray_callers=9, reviewers=8, pause=0.05)
EMBEDDED = Load(instant_callers=10, reviewers=4, pause=0.05)


def world_stage(plan: Plan, *, ray: bool, load: Load | None = None) -> Report:
    """Gateways, workers, PostgreSQL, two Valkeys; with `ray` a real serving application too. Call it from the main
    thread. Raises TimeoutError or RuntimeError when something does not start or come back."""
    with folder(plan) as home, tree_of(plan) as tree:
        if not ray:
            return asyncio.run(_strike(World(Wanted(home, tree)), plan, load or Load(), None))
        (home / "serving").mkdir()
        with running_serving(home / "serving", replicas=2, ranks=1) as serving:
            wanted = Wanted(home, tree, serving.base_url, serving.token, ray_gateways=2, instant_gateways=2)
            return asyncio.run(_strike(World(wanted), plan, load or WITH_RAY, serving))


def embedded_stage(plan: Plan) -> tuple[Report, bool]:
    """One gateway on SQLite; whether its disk was a small one, that could be filled."""
    with folder(plan) as home, tree_of(plan) as tree:
        world = EmbeddedWorld(Wanted(home, tree))
        report = asyncio.run(_strike_embedded(world, plan))
        return report, world.mounted


def crash_point_stage(plan: Plan, every: int = 1) -> Report:
    """The embedded set-up, killed at each durable step of a life in turn, or at every so manyth."""
    with folder(plan) as home, tree_of(plan) as tree:
        return asyncio.run(_cut_short(EmbeddedWorld(Wanted(home, tree)), plan, every))


def planned(plan: Plan, among: Sequence[str]) -> list[Fault]:
    kinds = [kind for kind in kinds_of(among) if kind.name not in plan.leave_out]
    return schedule(plan.seed, plan.seconds, kinds, minutes=plan.minutes, intensity=plan.intensity)


async def _strike(world: World, plan: Plan, load: Load, serving: RunningServing | None) -> Report:
    faults = planned(plan, ["world", "ray"] if serving else ["world"])
    acts = RayFaults(serving).acts if serving else {}
    try:
        await world.start()
        return await trial.run(world, faults, plan.seconds, plan.seed, load, acts)
    finally:
        await world.stop()


async def _strike_embedded(world: EmbeddedWorld, plan: Plan) -> Report:
    try:
        await world.start()
        left_out = plan.leave_out if world.mounted else (*plan.leave_out, "fill the disk")
        faults = planned(replace(plan, leave_out=left_out), ["embedded"])
        return await trial.run(world, faults, plan.seconds, plan.seed, EMBEDDED, embedded.ACTS)
    finally:
        await world.stop()


async def _cut_short(world: EmbeddedWorld, plan: Plan, every: int) -> Report:
    try:
        await world.start()
        return await lives.cut_short(world, plan.seed, every)
    finally:
        await world.stop()


@contextlib.contextmanager
def folder(plan: Plan) -> Iterator[Path]:
    """A short path, for unix sockets, that PostgreSQL's user may enter."""
    home = Path(tempfile.mkdtemp(prefix="csf-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        if plan.keep is not None:
            plan.keep.mkdir(parents=True, exist_ok=True)
            shutil.copytree(home / "logs", plan.keep / "logs", dirs_exist_ok=True)
            for file in home.glob("*.jsonl"):
                shutil.copy(file, plan.keep)
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def tree_of(plan: Plan) -> Iterator[Path]:
    """The product's source, or a copy without one mechanism. Raises KeyError for a mechanism nobody knows."""
    if not plan.without:
        yield ROOT
        return
    with mutated_tree(BY_NAME[plan.without]) as copy:
        yield copy


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, so that every process is taken down on the way."""

    def interrupt(_: int, __: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)  # not KeyboardInterrupt itself: asyncio answers SIGINT by an orderly end

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
