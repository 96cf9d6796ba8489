"""Exchanges rows between ranks through torch.distributed's gloo over loopback: any processor, any store order."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from serving.experts.exchange import ExchangeTimeout
from serving.experts.exchange_way import GLOO_LEAST_SAVED, ChooseWay, ways_from
from serving.experts.group_exchange import GroupExchange

_CHOOSE = ways_from(GLOO_LEAST_SAVED)


class GlooExchange(GroupExchange):
    """A process group of its own: nothing is registered with torch.distributed's defaults."""

    def __init__(self, path: Path, rank: int, ranks: int, seconds: float, choose: ChooseWay = _CHOOSE) -> None:
        """Returns when all ranks have come. Raises ExchangeTimeout."""
        gloo: Any = dist.ProcessGroupGloo  # its stubs know only a part of it
        options = gloo._Options()
        options._devices = [gloo.create_device(hostname="127.0.0.1")]
        options._timeout = timedelta(seconds=seconds)
        store = dist.FileStore(str(path), ranks)  # type: ignore[attr-defined]  # missing in its stubs
        started = time.perf_counter()
        try:
            group = gloo(store, rank, ranks, options)
        except RuntimeError as error:
            raise ExchangeTimeout((), seconds) from error
        super().__init__(group, rank, ranks, seconds, choose)
        self.wait_seconds = time.perf_counter() - started
