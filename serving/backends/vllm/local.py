"""A vLLM engine in this process, without Ray: for calibration and benchmarks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.backends.vllm.arguments import VllmSizes
from serving.backends.vllm.checkpoint import open_any_checkpoint
from serving.backends.vllm.engine import VllmEngine
from serving.backends.vllm.environment import vllm_environment
from serving.backends.vllm.host import started_host
from serving.backends.vllm.installed import installed_vllm


@contextmanager
def local_vllm(checkpoint: Path | str, home: Path, **sizes: Any) -> Iterator[VllmEngine]:
    """`sizes` are fields of VllmSizes; `home` keeps what vLLM caches.

    Raises CheckpointError, BackendRefused or RankLost when it cannot start.
    """
    opened, wanted, device = open_any_checkpoint(checkpoint), VllmSizes(**sizes), installed_vllm().device
    cores = sorted(os.sched_getaffinity(0))
    environment = vllm_environment(device, wanted.ranks, 1, cores, wanted.start_seconds, home)
    engine = VllmEngine(started_host(opened, wanted, device, environment), opened, wanted)
    try:
        yield engine
    finally:
        engine.close()
