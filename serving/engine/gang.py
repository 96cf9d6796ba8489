"""The driver's side of a gang of ranks in one epoch: sends plans, collects answers, notices at once who is gone."""

from __future__ import annotations

import json
import select
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from serving.engine.control import Channel, ChannelClosed, Kind
from serving.engine.errors import RankLost
from serving.engine.fault import fault_from_json
from serving.engine.placed import PlacementInForce, Readiness, readiness_from_json
from serving.engine.plan import PlanError, RankAnswer, RankPlan, pack_plan, unpack_answer
from serving.experts.placement import Placement, placement_to_json


@dataclass(frozen=True, slots=True)
class RankReport:
    """What a rank holds; counts are numbers of parameters."""

    rank: int  # its number in the gang: stages one after another, the ranks of each in order
    pid: int
    total: int
    expert: int  # of these, in routed experts
    expert_ids: dict[int, tuple[int, ...]]  # by layer
    stage: int = 0
    layers: tuple[int, ...] = ()  # that its stage computes


def read_report(payload: bytes) -> RankReport:
    """Raises KeyError, TypeError or ValueError when it is not one."""
    data = json.loads(payload)
    held = {int(layer): tuple(ids) for layer, ids in data["expert_ids"].items()}
    layers = tuple(int(layer) for layer in data["layers"])
    return RankReport(data["rank"], data["pid"], data["total"], data["expert"], held, data["stage"], layers)


@dataclass(slots=True)
class _Step:
    number: int
    sent_at: float
    answers: dict[int, RankAnswer] = field(default_factory=dict)  # by rank


def _under(placement: Placement, reports: Sequence[RankReport]) -> tuple[RankReport, ...]:
    """What ranks hold since experts have moved; each expert has as many parameters as any other."""
    found = []
    for report in reports:
        held = placement.held_by(report.rank % placement.ranks, report.expert_ids)
        before, now = (sum(map(len, ids.values())) for ids in (report.expert_ids, held))
        expert = report.expert // before * now if before else 0
        total = report.total - report.expert + expert
        found.append(replace(report, total=total, expert=expert, expert_ids=held))
    return tuple(found)


def reported_placement(reports: Sequence[RankReport]) -> Placement:
    """Each layer's experts among the ranks of its stage."""
    layers = sorted({layer for report in reports for layer in report.expert_ids})
    by_layer = {
        layer: tuple(report.expert_ids[layer] for report in reports if layer in report.expert_ids) for layer in layers
    }
    return Placement(sum(report.stage == reports[0].stage for report in reports), by_layer)


class Gang:
    """`channels` and `reports` in order of rank. After a RankLost nothing more is sent in this epoch.

    Steps are answered in the order in which they were sent, by each rank and so by all.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        reports: Sequence[RankReport],
        step_seconds: float,
        in_force: PlacementInForce | None = None,
    ) -> None:
        """Without a placement `in_force`: what the reports say."""
        in_force = in_force or PlacementInForce(reported_placement(reports))
        self.readiness: dict[int, Readiness] = {}  # by rank, for the last move
        self.plan_bytes = 0  # of the largest plan of the last step
        self._in_force, self._coming = in_force, in_force.now.version
        self.reports = _under(in_force.now, reports)  # in order of rank, under the placement in force
        self._channels, self._seconds = tuple(channels), step_seconds
        self._columns = in_force.now.ranks  # of a stage
        self._steps: deque[_Step] = deque()  # sent and not collected
        self._collected_at = 0.0
        self._poll = select.poll()
        self._rank_of = {channel.fileno(): rank for rank, channel in enumerate(self._channels)}
        for channel in self._channels:
            channel.set_time_limit(step_seconds)
            self._poll.register(channel.fileno(), select.POLLIN)

    @property
    def placement(self) -> Placement:
        """The one in force."""
        return self._in_force.now

    def put_in_force(self, placement: Placement) -> None:
        """All ranks have loaded for it: plans must bear its version from now on."""
        self._in_force.now, self.reports = placement, _under(placement, self.reports)

    def move(self, placement: Placement) -> None:
        """Ranks load what they lack for it beside the steps, and tell in `readiness`. Raises RankLost."""
        self.readiness, self._coming = {}, placement.version
        order = json.dumps(placement_to_json(placement)).encode()
        for rank in range(len(self._channels)):
            self._send(rank, Kind.MOVE, order)

    def step(self, plans: Sequence[RankPlan]) -> list[RankAnswer]:
        """`submit` and `collect` in one: the answers of the last stage. Raises RankLost."""
        self.submit(plans)
        answers = self.collect()
        assert answers is not None  # nobody wakes it
        return answers[-self._columns :]

    def submit(self, plans: Sequence[RankPlan]) -> None:
        """One plan for each rank of a stage; it goes to that rank of every stage. Raises RankLost."""
        self.plan_bytes = 0
        for place, payload in enumerate(map(pack_plan, plans)):
            self.plan_bytes = max(self.plan_bytes, len(payload))
            for rank in range(place, len(self._channels), self._columns):
                self._send(rank, Kind.PLAN, payload)
        self._steps.append(_Step(plans[0].step, time.monotonic()))

    def collect(self, wake: int | None = None) -> list[RankAnswer] | None:
        """The oldest submitted step's answer of each rank; only the last stage's tell what was drawn. Raises RankLost.

        None when `wake` is readable before the step is back: it can be collected later. The step's time limit begins
        when it was sent or the one before it was collected, whichever was later.
        """
        if wake is None:
            return self._collect(None)
        self._poll.register(wake, select.POLLIN)
        try:
            return self._collect(wake)
        finally:
            self._poll.unregister(wake)

    def _collect(self, wake: int | None) -> list[RankAnswer] | None:
        oldest = self._steps[0]
        deadline = max(oldest.sent_at, self._collected_at) + self._seconds
        while len(oldest.answers) < len(self._channels):
            for descriptor, _ in self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                if descriptor == wake:
                    return None
                self._take_answer(self._rank_of[descriptor])
            if time.monotonic() > deadline:
                late = [rank for rank in range(len(self._channels)) if rank not in oldest.answers]
                if late:
                    raise RankLost(late[0], f"no answer within {self._seconds:g} s")
        self._steps.popleft()
        self._collected_at = time.monotonic()
        return [oldest.answers[rank] for rank in range(len(self._channels))]

    def wait(self, wake: int) -> None:
        """Sleep until `wake` is readable. Raises RankLost when a rank goes away meanwhile."""
        self._poll.register(wake, select.POLLIN)
        try:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
        finally:
            self._poll.unregister(wake)
        for descriptor in ready:
            if descriptor != wake:
                self._receive(self._rank_of[descriptor])

    def close(self) -> None:
        """The ranks stay, and wait for another epoch: the channels belong to the roster."""
        for descriptor in self._rank_of:
            self._poll.unregister(descriptor)
        self._rank_of.clear()

    def _send(self, rank: int, kind: Kind, payload: bytes) -> None:
        try:
            self._channels[rank].send(kind, payload)
        except (ChannelClosed, TimeoutError) as error:
            raise RankLost(rank, "it no longer takes plans") from error

    def _take_answer(self, rank: int) -> None:
        payload = self._receive(rank)
        try:
            answer = unpack_answer(payload)
        except PlanError as error:
            raise RankLost(rank, str(error)) from error
        awaited = next((step for step in self._steps if rank not in step.answers), None)
        if awaited is None or answer.step != awaited.number:
            wanted = "none" if awaited is None else str(awaited.number)
            raise RankLost(rank, f"it answered step {answer.step} instead of {wanted}")
        awaited.answers[rank] = answer

    def _receive(self, rank: int) -> bytes:
        try:
            kind, payload = self._channels[rank].receive()
            if kind is Kind.READY:  # its answer is right behind
                self._take_readiness(rank, readiness_from_json(payload))
                kind, payload = self._channels[rank].receive()
            fault = fault_from_json(payload) if kind is Kind.FAULT else None
        except (ChannelClosed, TimeoutError, KeyError, TypeError, ValueError) as error:
            raise RankLost(rank, "its process ended or its stream broke") from error
        if fault is not None:
            raise RankLost(next(iter(fault.missing), None), f"rank {rank} reports: {fault.reason}")
        if kind is not Kind.ANSWER:
            raise RankLost(rank, f"it sent an unexpected {kind.name}")
        return payload

    def _take_readiness(self, rank: int, readiness: Readiness) -> None:
        if readiness.version == self._coming:  # not for a move that was given up
            self.readiness[rank] = readiness
