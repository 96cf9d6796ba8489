"""One rank: takes a place in a stage, loads its shard, and answers the driver's plans, epoch after epoch."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from serving.engine.control import Channel, ChannelClosed, Kind, connect
from serving.engine.fault import Fault, fault_to_json
from serving.engine.plan import pack_answer, unpack_plan
from serving.experts.exchange import AloneExchange, Exchange, ExchangeBroken, ExchangeTimeout, ExchangeVoid
from serving.experts.exchange_of_epoch import ExchangeOfEpoch
from serving.experts.gloo_exchange import GlooExchange
from serving.experts.placement import contiguous_placement
from serving.experts.rank_settings import RankSettings, settings_from_json
from serving.experts.runner import Runner
from serving.experts.shm_exchange import ShmExchange
from serving.experts.shm_layout import shm_layout
from serving.model.checkpoint import open_checkpoint
from serving.stages.handoff import named_in_the_gang
from serving.stages.opening import open_handoffs
from serving.stages.stage import stages_of
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
        with torch.inference_mode():
            _live(settings, channel)
    except ChannelClosed:
        _log.info("the driver is gone")
    except Exception as error:
        _tell(channel, Fault(f"{type(error).__name__}: {error}"))
        raise
    finally:
        channel.close()


def _live(settings: RankSettings, channel: Channel) -> None:
    rank = _Rank(settings, channel)
    channel.send(Kind.HELLO, json.dumps({"pid": os.getpid()}).encode())
    try:
        while True:
            kind, payload = channel.receive()
            try:
                channel.send(*rank.obey(kind, payload))
            except ExchangeBroken as error:
                error = named_in_the_gang(error, rank.first_of_stage)
                missing = error.missing if isinstance(error, ExchangeTimeout) else ()
                rank.void()
                channel.send(Kind.FAULT, fault_to_json(Fault(str(error), missing)))
    finally:
        rank.close()


class _Rank:
    """Made long before it has a place: what can be read and imported without one has been by then."""

    def __init__(self, settings: RankSettings, channel: Channel) -> None:
        self._settings, self._channel = settings, channel
        self._checkpoint = open_checkpoint(settings.checkpoint)  # reads every byte: a shard then comes from memory
        self._exchange, self._links = ExchangeOfEpoch(), StageLinks()
        self._number = -1  # in the gang: stage * ranks + rank of the stage
        self._runner: Runner | None = None

    def obey(self, kind: Kind, payload: bytes) -> tuple[Kind, bytes]:
        """The reply. Raises ExchangeBroken when the step is void, ValueError for what it cannot obey."""
        if kind is Kind.PLAN and self._runner is not None:
            plan, started = unpack_plan(payload), time.perf_counter()
            if self._settings.stages > 1 and self._channel.called_away():  # of steps in flight, none is begun any more
                raise ExchangeVoid
            return Kind.ANSWER, pack_answer(self._runner.run(plan, started))
        if kind is Kind.VOID:
            self.void()
            return Kind.DONE, b""
        if kind is Kind.SEAT:
            return Kind.DONE, self._take_place(json.loads(payload)["rank"])
        if kind is Kind.JOIN and self._runner is not None:
            self._join(json.loads(payload))
            return Kind.DONE, b""
        raise ValueError(f"a rank {'without' if self._runner is None else 'with'} a place was sent {kind.name}")

    def void(self) -> None:
        """Its sequences are forgotten by the driver alone: a cache is written before it is read."""
        self._exchange.end()
        self._links.end()

    @property
    def first_of_stage(self) -> int:
        """The number in the gang of its stage's first rank."""
        return self._number - self._number % self._settings.ranks

    def close(self) -> None:
        self.void()
        if self._runner is not None:
            self._runner.close()

    def _take_place(self, number: int) -> bytes:
        config, settings = self._checkpoint.config, self._settings
        number_of_stage, place = divmod(number, settings.ranks)
        stage = stages_of(config, settings.stages)[number_of_stage]
        by_layer = contiguous_placement(config, settings.ranks).held_by(place)
        held = {layer: ids for layer, ids in by_layer.items() if layer in stage.layers}
        if self._runner is not None:  # a seat given again: two shards at once may be more than there is room for
            self._runner.close()
            self._runner = None
        self._number = number
        self._runner = Runner(settings, self._checkpoint, held, self._exchange, stage, self._links)
        weights = self._runner.weights
        report = {
            "rank": number,
            "pid": os.getpid(),
            "total": weights.total_parameters,
            "expert": weights.expert_parameters,
            "expert_ids": {str(layer): list(ids) for layer, ids in held.items()},
            "stage": stage.number,
            "layers": list(stage.layers),
        }
        return json.dumps(report).encode()

    def _join(self, paths: Mapping[str, str | None]) -> None:
        """`paths` are those of serving.engine.meeting.MeetingPoint. Raises ExchangeBroken."""
        self._exchange.begin(self._open_exchange(paths["exchange"]))
        is_void = self._channel.called_away
        self._links.begin(*open_handoffs(paths, self._settings, self._checkpoint.config, self._number, is_void))

    def _open_exchange(self, path: str | None) -> Exchange:
        ranks, seconds = self._settings.ranks, self._settings.exchange_seconds
        if path is None:
            return AloneExchange()
        place = self._number % ranks
        if self._settings.exchange == "gloo":
            return GlooExchange(Path(path), place, ranks, seconds)
        layout = shm_layout(self._checkpoint.config, ranks, self._settings.step_tokens)
        return ShmExchange(Path(path), layout, place, seconds, is_void=self._channel.called_away)


def _tell(channel: Channel, fault: Fault) -> None:
    try:
        channel.set_time_limit(1.0)
        channel.send(Kind.FAULT, fault_to_json(fault))
    except (ChannelClosed, TimeoutError):
        _log.warning("the driver could not be told: %s", fault.reason)


if __name__ == "__main__":
    run_rank(settings_from_json(sys.argv[1]))
