"""Keeps a vLLM engine for a replica: started once; when it dies the replica asks to be replaced."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial

import structlog

from serving.backends.backend import ServedModel
from serving.backends.vllm.arguments import VllmSizes, sizes_from
from serving.backends.vllm.checkpoint import AnyCheckpoint
from serving.backends.vllm.checks import verify_for_vllm
from serving.backends.vllm.engine import VllmEngine, VllmGenerator
from serving.backends.vllm.environment import vllm_environment
from serving.backends.vllm.host import started_host
from serving.backends.vllm.installed import installed_vllm
from serving.engine.errors import RankLost
from serving.settings import ServingSettings

log = structlog.get_logger()


class VllmKeeper:
    """vLLM cannot put a new worker in a lost one's place: there is one epoch."""

    def __init__(self, checkpoint: AnyCheckpoint, sizes: VllmSizes, generator: Callable[[], VllmGenerator]) -> None:
        """`generator` starts one: it blocks until that can generate, and raises RankLost when it cannot."""
        self.checkpoint, self.sizes = checkpoint, sizes
        self.epoch = 0
        self._generator = generator
        self._engine: VllmEngine | None = None

    @property
    def engine(self) -> VllmEngine | None:
        return self._engine

    @property
    def ready(self) -> bool:
        return self._engine is not None and self._engine.lost is None

    @property
    def given_up(self) -> str | None:
        return self._engine.lost if self._engine else None

    async def start(self) -> None:
        """Raises RankLost when vLLM does not come up in its time."""
        since = time.monotonic()
        self._engine = await asyncio.to_thread(self._start)
        self.epoch = 1
        pids = [report.pid for report in self._engine.reports]
        log.info("vllm.ready", pids=pids, seconds=round(time.monotonic() - since, 2))

    async def running_engine(self, seconds: float) -> VllmEngine:
        """Raises RankLost at once when there is none: nothing that could be waited for happens here."""
        if self._engine is None:
            raise RankLost(None, "vLLM is not started")
        if reason := self._engine.lost:
            raise RankLost(None, reason)
        return self._engine

    async def stop(self) -> None:
        if self._engine:
            await asyncio.to_thread(self._engine.close)

    def _start(self) -> VllmEngine:
        return VllmEngine(self._generator(), self.checkpoint, self.sizes)


def open_vllm(settings: ServingSettings) -> tuple[ServedModel, VllmKeeper]:
    """Raises CheckpointError or BackendRefused; starts nothing."""
    checkpoint, sizes, device = verify_for_vllm(settings), sizes_from(settings), installed_vllm().device
    cores = sorted(os.sched_getaffinity(0))
    environment = vllm_environment(
        device, sizes.ranks, settings.replicas, cores, sizes.start_seconds, settings.home.absolute()
    )
    model = ServedModel(
        checkpoint.model_id,
        checkpoint.name,
        checkpoint.model_type,
        checkpoint.context_length,
        checkpoint.parameters,
    )
    return model, VllmKeeper(checkpoint, sizes, partial(started_host, checkpoint, sizes, device, environment))
