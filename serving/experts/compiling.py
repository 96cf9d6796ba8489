"""Sets up a rank's compiled steps. Imported by who wants some alone: it takes as long as a third of torch."""

from __future__ import annotations

from pathlib import Path

from serving.compiled.steps import Builder, CompiledSteps
from serving.compiled.store import Wanted, buckets_up_to
from serving.compiled.whole_step import is_whole
from serving.engine.kv_cache import KvCache
from serving.experts.rank_settings import RankSettings
from serving.model.checkpoint import Checkpoint
from serving.model.weights import Weights


def begin_compiling(
    settings: RankSettings, checkpoint: Checkpoint, weights: Weights, cache: KvCache
) -> tuple[CompiledSteps, Builder]:
    """What there is of them, and who makes the rest; `checkpoint` with the config of the rank's stage."""
    home, rows = Path(settings.compiled), buckets_up_to(settings.most_running)
    whole = is_whole(checkpoint.config, settings.ranks, settings.stages)
    wanted = Wanted(settings.ranks, len(cache.rows(0)), settings.block_size, rows, whole)
    return CompiledSteps(home, checkpoint, weights, cache, wanted), Builder(home, checkpoint, wanted)
