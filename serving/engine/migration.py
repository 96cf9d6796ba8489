"""Moves experts between ranks while steps go on: decides from load when it pays, and switches all ranks at one step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from serving.engine.engine_config import EngineConfig
from serving.engine.expert_load import ExpertLoad
from serving.engine.gang import Gang
from serving.engine.told import MOST
from serving.experts.balance import layers_imbalance, rebalanced_layer
from serving.experts.placement import Held, Placement, slots_of

LOOK_STEPS = 64  # between two looks at the load
PAUSE_STEPS = 512  # at least, from one migration's beginning to the next; many times that after a failed one
MEMORY = 0.9  # what load weighs at the next look: the last 640 steps or so count
LEAST_ROWS = 32.0  # of an expert, on average: with fewer, chance alone makes ranks uneven
WORTH_MOVING = 1.15  # imbalance below which everything stays
LEAST_GAIN = 0.05  # of the imbalance; what moves must be read from the checkpoint, and meanwhile slows steps down
_FAILED_PAUSES = 20
_log = logging.getLogger(__name__)


class Migration:
    """One engine's; for one thread, its counts may be read by any. Ranks keep computing by the former placement until
    every one of them has loaded what it will hold, so a rank that cannot load costs nothing but the attempt.
    """

    def __init__(
        self,
        gang: Gang,
        load: ExpertLoad,
        experts: int,
        config: EngineConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`experts`: of a layer."""
        self.begun = self.done = self.failed = 0
        self.imbalance: float | None = None  # of the rows lately, as layers_imbalance has it
        self._gang, self._load, self._clock = gang, load, clock
        self._enabled = config.migrate and config.ranks > 1
        self._places, self._seconds = slots_of(experts, config.ranks, config.spare_experts), config.start_seconds
        self._steps, self._next_look, self._next_move = 0, LOOK_STEPS, 0
        self._seen: npt.NDArray[np.float64] | None = None  # load at the last look
        self._recent: npt.NDArray[np.float64] | None = None  # moving sum of load
        self._coming: Placement | None = None
        self._search: Iterator[bool] | None = None  # for a better placement
        self._version = gang.placement.version
        self._deadline, self._overdue = 0.0, 0  # steps begun after the deadline
        self._depth = config.stages if config.stages > 1 else 2 * MOST  # steps in flight at most

    @property
    def in_force(self) -> int:
        """The version of the placement that ranks compute by."""
        return self._gang.placement.version

    @property
    def coming(self) -> bool:
        """Whether ranks are loading for another placement."""
        return self._coming is not None

    def before_step(self) -> int:
        """The version of the placement that the step is computed by. Raises RankLost."""
        self._steps += 1
        if self._coming is not None:
            self._follow(self._coming)
        elif self._search is not None:
            if not next(self._search, False):
                self._search = None
        elif self._enabled and self._steps >= self._next_look:
            self._look()
        return self._gang.placement.version

    def begin(self, placement: Placement) -> None:
        """Ranks start to load what they lack for it. Raises RankLost."""
        self._version += 1  # of its own for every attempt: what ranks still say of a former one is not heard
        self._coming = replace(placement, version=self._version)
        self._gang.move(self._coming)
        self._deadline, self._overdue = self._clock() + self._seconds, 0
        self._next_move = self._steps + PAUSE_STEPS
        self.begun += 1

    def _look(self) -> None:
        self._next_look = self._steps + LOOK_STEPS
        counted = self._load.by_owner
        if counted is None or not counted.size:
            return
        load, now = counted.astype(np.float64), self._gang.placement
        recent = load if self._seen is None or self._recent is None else MEMORY * self._recent + load - self._seen
        self._seen, self._recent, self.imbalance = load, recent, layers_imbalance(recent, now)
        enough = recent.sum() >= LEAST_ROWS * recent[0].size
        if enough and self._steps >= self._next_move and self.imbalance >= WORTH_MOVING:
            self._search = self._better(recent, now, self.imbalance)

    def _better(self, load: npt.NDArray[np.float64], now: Placement, imbalance: float) -> Iterator[bool]:
        """Looks for a better placement, a layer before each step: all at once would hold a large model's steps up."""
        self._next_move = self._steps + PAUSE_STEPS
        by_layer: dict[int, Held] = {}
        for row, layer in enumerate(sorted(now.by_layer)):
            by_layer[layer] = rebalanced_layer(load[:, row], now.by_layer[layer], self._places)
            yield True
        found = replace(now, by_layer=by_layer)
        expected = layers_imbalance(load, found)
        if expected <= (1.0 - LEAST_GAIN) * imbalance:
            _log.info("experts move: imbalance %.2f, expected %.2f", imbalance, expected)
            self.begin(found)

    def _follow(self, coming: Placement) -> None:
        """Switch when all ranks are ready; stay with the former placement when one has failed or takes too long."""
        told = [self._gang.readiness.get(rank) for rank in range(len(self._gang.reports))]
        failed = next((ready for ready in told if ready is not None and ready.reason), None)
        if failed is not None:
            self._give_up(failed.reason)
        elif all(told):
            # In force before the first plan is sent: whoever outlives this step has it loaded, and newcomers get it.
            self._load.switch(coming)
            self._gang.put_in_force(coming)
            self._coming = None
            self.done += 1
        elif self._overdue >= self._depth:
            self._give_up(f"not all ranks had loaded within {self._seconds:g} s")
        elif self._clock() > self._deadline:
            self._overdue += 1  # they tell with an answer: an idle engine hears nothing until its next steps come back

    def _give_up(self, reason: str) -> None:
        _log.error("experts stay where they are: %s", reason)
        self._coming = None
        self.failed += 1
        self._next_move = self._steps + _FAILED_PAUSES * PAUSE_STEPS
        self._gang.move(self._gang.placement)  # who has loaded lets go of it
