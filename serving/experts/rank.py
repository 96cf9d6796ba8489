"""One expert-parallel rank: loads its shard, answers the driver's plans until the driver goes away."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path

import torch

from serving.engine.control import Channel, ChannelClosed, Kind, connect
from serving.engine.plan import pack_answer, unpack_plan
from serving.experts.exchange import AloneExchange, Exchange, ExchangeTimeout
from serving.experts.gloo_exchange import GlooExchange
from serving.experts.placement import contiguous_placement
from serving.experts.rank_settings import RankSettings, settings_from_json
from serving.experts.runner import Runner
from serving.experts.shm_exchange import ShmExchange
from serving.experts.shm_layout import shm_layout
from serving.model.checkpoint import open_checkpoint
from serving.model.config import ModelConfig

_CONNECT_SECONDS = 10.0
_log = logging.getLogger(__name__)


def run_rank(settings: RankSettings) -> None:
    """Blocks until the driver closes its end. A failure is told to the driver in one sentence, then raised."""
    torch.set_num_threads(1)  # several ranks share the cores: two threads each would fight
    channel = connect(settings.control_path, _CONNECT_SECONDS)
    try:
        with torch.inference_mode():
            _serve(settings, channel)
    except ChannelClosed:
        _log.info("rank %d: the driver is gone", settings.rank)
    except Exception as error:
        _tell(channel, error)
        raise
    finally:
        channel.close()


def _serve(settings: RankSettings, channel: Channel) -> None:
    checkpoint = open_checkpoint(settings.checkpoint)
    held = contiguous_placement(checkpoint.config, settings.ranks).held_by(settings.rank)
    exchange = _open_exchange(settings, checkpoint.config)
    runner = Runner(settings, checkpoint, held, exchange)
    hello = {
        "rank": settings.rank,
        "pid": os.getpid(),
        "total": runner.weights.total_parameters,
        "expert": runner.weights.expert_parameters,
        "expert_ids": {str(layer): list(ids) for layer, ids in held.items()},
    }
    channel.send(Kind.HELLO, json.dumps(hello).encode())
    try:
        while True:
            _, payload = channel.receive()
            plan = unpack_plan(payload)
            started = time.perf_counter()
            channel.send(Kind.ANSWER, pack_answer(runner.run(plan, started), plan.top_k))
    finally:
        runner.close()
        exchange.close()


def _open_exchange(settings: RankSettings, config: ModelConfig) -> Exchange:
    if settings.ranks == 1:
        return AloneExchange()
    path, seconds = Path(settings.exchange_path), settings.exchange_seconds
    if settings.exchange == "gloo":
        return GlooExchange(path, settings.rank, settings.ranks, seconds)
    return ShmExchange(path, shm_layout(config, settings.ranks, settings.step_tokens), settings.rank, seconds)


def _tell(channel: Channel, error: Exception) -> None:
    sentence = str(error) if isinstance(error, ExchangeTimeout) else f"{type(error).__name__}: {error}"
    try:
        channel.set_time_limit(1.0)
        channel.send(Kind.FAULT, sentence.encode())
    except (ChannelClosed, TimeoutError):
        _log.warning("the driver could not be told: %s", sentence)


if __name__ == "__main__":
    run_rank(settings_from_json(sys.argv[1]))
