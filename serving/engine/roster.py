"""Knows which rank process holds which place in a gang, from epoch to epoch; who answers no more loses the place."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from serving.engine.control import ChannelClosed, Kind
from serving.engine.engine_config import MUSTER_SECONDS, EngineConfig
from serving.engine.errors import RankLost
from serving.engine.fault import fault_from_json
from serving.engine.gang import Gang, RankReport, read_report
from serving.engine.meeting import meeting_points
from serving.engine.placed import PlacementInForce
from serving.engine.rendezvous import GangMember
from serving.experts.placement import contiguous_placement, placement_to_json
from serving.model.checkpoint import Checkpoint
from serving.stages.stage import stages_of


class Roster:
    """Not for two threads at once. A new epoch is `muster`, `fill` where someone is gone, `assemble`."""

    def __init__(self, checkpoint: Checkpoint, config: EngineConfig) -> None:
        """Raises ValueError when the checkpoint has fewer layers than there are to be stages."""
        stages_of(checkpoint.config, config.stages)
        self._checkpoint, self._config = checkpoint, config
        self._members: dict[int, GangMember] = {}  # by rank
        self._reports: dict[int, RankReport] = {}
        self._placed: PlacementInForce | None = None

    @property
    def pids(self) -> list[int]:
        """Of the places taken, in order of rank."""
        return [self._members[rank].pid for rank in sorted(self._members)]

    @property
    def vacant(self) -> list[int]:
        return [rank for rank in range(self._config.places) if rank not in self._members]

    def rank_of(self, pid: int) -> int | None:
        return next((rank for rank, member in list(self._members.items()) if member.pid == pid), None)

    def dismiss(self, rank: int) -> GangMember | None:
        """Who held the place; its channel is closed, its process is the caller's to end."""
        member = self._members.pop(rank, None)
        self._reports.pop(rank, None)
        if member is not None:
            member.channel.close()
        return member

    def muster(self, epoch: int) -> list[GangMember]:
        """Void the former epoch on every rank; who does not say so in `muster_seconds` is dismissed and returned."""
        present = answering(self._members, epoch, self._config.muster_seconds)
        gone = [self.dismiss(rank) for rank in sorted(self._members) if rank not in present]
        return [member for member in gone if member is not None]

    def fill(self, newcomers: Sequence[GangMember]) -> None:
        """They take the vacant places, lowest first, when the gang is assembled."""
        self._members.update(zip(self.vacant, newcomers, strict=True))

    def assemble(self, epoch: int) -> Gang:
        """Newcomers load their shards, then all join the epoch's exchange.

        Raises RankLost when a rank fails, or does not load within `start_seconds` or join within `exchange_seconds`.
        """
        places, in_force = range(self._config.places), self._placement()
        for member in self._members.values():
            member.channel.epoch = epoch
        placement = placement_to_json(in_force.now)
        newcomers = {rank: {"rank": rank, "placement": placement} for rank in places if rank not in self._reports}
        for rank, payload in self._tell(Kind.SEAT, newcomers, self._config.start_seconds).items():
            self._reports[rank] = _report(rank, payload)
        with meeting_points(self._checkpoint.config, self._config) as points:
            orders = {rank: asdict(point) | {"placement": in_force.now.version} for rank, point in enumerate(points)}
            self._tell(Kind.JOIN, orders, self._config.exchange_seconds + self._config.muster_seconds)
        channels = [self._members[rank].channel for rank in places]
        return Gang(channels, [self._reports[rank] for rank in places], self._config.step_seconds, in_force)

    def close(self) -> None:
        """The ranks see the end of their streams and end too."""
        for rank in list(self._members):
            self.dismiss(rank)

    def _placement(self) -> PlacementInForce:
        if self._placed is None:
            try:
                even = contiguous_placement(self._checkpoint.config, self._config.ranks)
            except ValueError as error:
                raise RankLost(None, str(error)) from error
            self._placed = PlacementInForce(even)
        return self._placed

    def _tell(self, kind: Kind, orders: Mapping[int, object], seconds: float) -> dict[int, bytes]:
        """All at once, then their replies. Raises RankLost."""
        deadline = time.monotonic() + seconds
        for rank, order in orders.items():
            _send(rank, self._members[rank], kind, json.dumps(order).encode(), seconds)
        return {rank: _reply(rank, self._members[rank], deadline) for rank in orders}


def answering(members: Mapping[int, GangMember], epoch: int, seconds: float = MUSTER_SECONDS) -> set[int]:
    """The keys of those that obey a VOID in time; late messages of earlier epochs count for nothing."""
    deadline, present = time.monotonic() + seconds, set()
    told = []
    for key, member in members.items():
        member.channel.epoch = epoch
        try:
            _send(key, member, Kind.VOID, b"", seconds)
            told.append(key)
        except RankLost:
            continue
    for key in told:
        try:
            _reply(key, members[key], deadline)
            present.add(key)
        except RankLost:
            continue
    return present


def _send(rank: int, member: GangMember, kind: Kind, payload: bytes, seconds: float) -> None:
    member.channel.set_time_limit(seconds)
    try:
        member.channel.send(kind, payload)
    except (ChannelClosed, TimeoutError) as error:
        raise RankLost(rank, "it no longer takes messages") from error


def _reply(rank: int, member: GangMember, deadline: float) -> bytes:
    member.channel.set_time_limit(max(0.001, deadline - time.monotonic()))
    try:
        kind, payload = member.channel.receive()
        if kind is Kind.FAULT:
            raise RankLost(None, f"rank {rank} reports: {fault_from_json(payload).reason}")
    except (ChannelClosed, TimeoutError, KeyError, TypeError, ValueError) as error:
        raise RankLost(rank, "its process ended or it did not obey in time") from error
    if kind is not Kind.DONE:
        raise RankLost(rank, f"it sent an unexpected {kind.name}")
    return payload


def _report(rank: int, payload: bytes) -> RankReport:
    try:
        return read_report(payload)
    except (KeyError, TypeError, ValueError) as error:
        raise RankLost(rank, "it sent an unreadable report") from error
