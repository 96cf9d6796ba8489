"""Our own engine: a gang of ranks that repairs itself in place."""

from __future__ import annotations

from functools import partial

from serving.backends.backend import ServedModel
from serving.engine.engine_config import EngineConfig
from serving.experts.rank_settings import best_exchange
from serving.gang_keeper import GangKeeper
from serving.model.checkpoint import open_checkpoint
from serving.planning.shape import shape_of
from serving.rank_actors import RankActors
from serving.settings import ServingSettings


def open_native(settings: ServingSettings, cpu_share: float) -> tuple[ServedModel, GangKeeper]:
    """Raises CheckpointError."""
    checkpoint = open_checkpoint(settings.checkpoint)
    config = EngineConfig(
        ranks=settings.ranks,
        stages=settings.stages,
        exchange=best_exchange() if settings.exchange == "auto" else settings.exchange,
        kv_tokens=settings.kv_tokens,
        start_seconds=settings.repair_seconds,
        compiled=str(settings.home / "compiled") if settings.compiled else "",
        token_seconds=settings.token_seconds,
        most_running=settings.most_running,
        migrate=settings.migrate_experts,
        spare_experts=settings.spare_experts,
    )
    most = config.places + settings.spare_ranks
    actors = partial(RankActors, checkpoint, config, cpu_share, most)
    own = checkpoint.config
    longest = min(own.context_length, config.kv_blocks * config.block_size)  # as the engine admits
    model = ServedModel(checkpoint.model_id, checkpoint.name, own.model_type, longest, shape_of(own).total)
    return model, GangKeeper(checkpoint, config, actors, settings.spare_ranks)
