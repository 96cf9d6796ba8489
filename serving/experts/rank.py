"""One rank: takes a place in a stage, loads its shard, and answers the driver's plans, epoch after epoch."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from serving.engine.control import Channel, ChannelClosed, Kind, connect
from serving.engine.fault import Fault, fault_to_json
from serving.engine.opened_plan import open_plan
from serving.engine.placed import readiness_to_json
from serving.engine.plan import pack_answer
from serving.experts.cores import keep_to_own_cores
from serving.experts.exchange import AloneExchange, Exchange, ExchangeBroken, ExchangeTimeout, ExchangeVoid
from serving.experts.exchange_of_epoch import ExchangeOfEpoch
from serving.experts.gloo_exchange import GlooExchange
from serving.experts.placement import Placement, placement_from_json
from serving.experts.rank_settings import RankSettings, settings_from_json
from serving.experts.seat import Seat
from serving.experts.shm_exchange import ShmExchange
from serving.experts.shm_layout import shm_layout
from serving.model.checkpoint import open_checkpoint
from serving.own_folder import own_folder, temporary_files_in
from serving.stages.handoff import named_in_the_gang
from serving.stages.opening import open_handoffs
from serving.stages.stage_links import StageLinks

_CONNECT_SECONDS = 10.0
_log = logging.getLogger(__name__)


def run_rank(settings: RankSettings) -> None:
    """Blocks until the driver closes its end. Another rank's loss ends the epoch, not this process.

    A failure of its own is told to the driver in one sentence, then raised.
    """
    torch.set_num_threads(1)  # several ranks share the cores: two threads each would fight
    channel = connect(settings.control_path, _CONNECT_SECONDS)
    try:
        with _room_to_unpack(settings), torch.inference_mode():
            _live(settings, channel)
    except ChannelClosed:
        _log.info("the driver is gone")
    except Exception as error:
        _tell(channel, Fault(f"{type(error).__name__}: {error}"))
        raise
    finally:
        channel.close()


@contextmanager
def _room_to_unpack(settings: RankSettings) -> Iterator[None]:
    """Torch unpacks compiled steps among temporary files, and does not come to remove them in a rank that is killed."""
    if not settings.compiled:
        yield
        return
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # a second, only for who compiles

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())  # stays where all builders have it
    with own_folder() as folder, temporary_files_in(folder):
        yield


def _live(settings: RankSettings, channel: Channel) -> None:
    rank = _Rank(settings, channel)
    channel.send(Kind.HELLO, json.dumps({"pid": os.getpid()}).encode())
    try:
        while True:
            kind, payload = channel.receive()
            try:
                for reply in rank.obey(kind, payload):
                    channel.keep(*reply)
                if not (rank.may_keep and channel.has_more()):
                    channel.send_kept()
            except ExchangeBroken as error:
                error = named_in_the_gang(error, rank.first_of_stage)
                missing = error.missing if isinstance(error, ExchangeTimeout) else ()
                rank.void()
                channel.send(Kind.FAULT, fault_to_json(Fault(str(error), missing)))
    finally:
        rank.close()


def _set_aside() -> None:
    """What is there once weights are loaded stays: to look through all of it takes longer than many steps."""
    gc.unfreeze()  # of a seat before, what nobody has any more goes
    gc.collect()
    gc.freeze()


class _Rank:
    """Made long before it has a place: what can be read and imported without one has been by then."""

    def __init__(self, settings: RankSettings, channel: Channel) -> None:
        self._settings, self._channel = settings, channel
        self._checkpoint = open_checkpoint(settings.checkpoint)  # reads every byte: a shard then comes from memory
        self._exchange, self._links = ExchangeOfEpoch(), StageLinks()
        self._seat: Seat | None = None
        self._has_own_cores = False
        self.may_keep = False  # the replies to what it has just obeyed, while more waits to be obeyed

    def obey(self, kind: Kind, payload: bytes) -> list[tuple[Kind, bytes]]:
        """The replies. Raises ExchangeBroken when the step is void, ValueError for what it cannot obey."""
        self.may_keep = False
        if kind is Kind.PLAN and self._seat is not None:
            plan, started = open_plan(payload), time.perf_counter()
            if self._channel.called_away():  # of steps in flight, none is begun any more
                raise ExchangeVoid
            if plan.reads_prompts:
                self._channel.send_kept()
            self.may_keep = plan.may_keep
            self._seat.compute_by(plan.placement)
            answer = Kind.ANSWER, pack_answer(self._seat.runner.run(plan, started))
            ready = self._seat.readiness()
            return [answer] if ready is None else [(Kind.READY, readiness_to_json(ready)), answer]
        if kind is Kind.VOID:
            self.void()
            return [(Kind.DONE, b"")]
        if kind is Kind.SEAT:
            order = json.loads(payload)
            return [(Kind.DONE, self._take_place(order["rank"], placement_from_json(order["placement"])))]
        if kind is Kind.MOVE and self._seat is not None:
            self._seat.move_to(placement_from_json(json.loads(payload)))
            return []
        if kind is Kind.JOIN and self._seat is not None:
            self._join(json.loads(payload), self._seat)
            return [(Kind.DONE, b"")]
        raise ValueError(f"a rank {'without' if self._seat is None else 'with'} a place was sent {kind.name}")

    def void(self) -> None:
        """Its sequences are forgotten by the driver alone: a cache is written before it is read."""
        self._exchange.end()
        self._links.end()

    @property
    def first_of_stage(self) -> int:
        """The number in the gang of its stage's first rank."""
        return self._seat.number - self._seat.rank if self._seat is not None else 0

    def close(self) -> None:
        self.void()
        if self._seat is not None:
            self._seat.close()

    def _take_place(self, number: int, placement: Placement) -> bytes:
        if self._seat is not None:  # a seat given again: two shards at once may be more than there is room for
            self._seat.close()
            self._seat = None
        self._has_own_cores = keep_to_own_cores(number, self._settings.ranks * self._settings.stages)
        self._seat = Seat(self._settings, self._checkpoint, placement, number, self._exchange, self._links)
        _set_aside()
        weights, stage = self._seat.runner.weights, self._seat.stage
        report = {
            "rank": number,
            "pid": os.getpid(),
            "total": weights.total_parameters,
            "expert": weights.expert_parameters,
            "expert_ids": {str(layer): list(ids) for layer, ids in self._seat.held.items()},
            "stage": stage.number,
            "layers": list(stage.layers),
        }
        return json.dumps(report).encode()

    def _join(self, order: Mapping[str, Any], seat: Seat) -> None:
        """`order` has the paths of a serving.engine.meeting.MeetingPoint, and a version. Raises ExchangeBroken."""
        seat.begin_epoch(order["placement"])
        self._exchange.begin(self._open_exchange(order["exchange"], seat.rank))
        is_void = self._channel.called_away
        self._links.begin(*open_handoffs(order, self._settings, self._checkpoint.config, seat.number, is_void))

    def _open_exchange(self, path: str | None, rank: int) -> Exchange:
        ranks, seconds = self._settings.ranks, self._settings.exchange_seconds
        if path is None:
            return AloneExchange()
        if self._settings.exchange == "gloo":
            return GlooExchange(Path(path), rank, ranks, seconds)
        layout = shm_layout(self._checkpoint.config, ranks, self._settings.step_tokens)
        is_void, shared = self._channel.called_away, not self._has_own_cores
        return ShmExchange(Path(path), layout, rank, seconds, is_void, shares_core=shared)


def _tell(channel: Channel, fault: Fault) -> None:
    try:
        channel.set_time_limit(1.0)
        channel.send(Kind.FAULT, fault_to_json(fault))
    except (ChannelClosed, TimeoutError):
        _log.warning("the driver could not be told: %s", fault.reason)


if __name__ == "__main__":
    run_rank(settings_from_json(sys.argv[1]))
