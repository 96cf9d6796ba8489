"""Opens a rank's handoffs with the stages beside its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from serving.experts.rank_settings import RankSettings
from serving.model.config import ModelConfig
from serving.stages.gloo_handoff import GlooHandoff
from serving.stages.handoff import Handoff
from serving.stages.handoff_layout import handoff_layout, time_limits
from serving.stages.shm_handoff import ShmHandoff

Opened = tuple[Handoff | None, Handoff | None]  # inward, outward


def open_handoffs(
    paths: Mapping[str, str | None],
    settings: RankSettings,
    config: ModelConfig,
    number: int,
    is_void: Callable[[], bool],
) -> Opened:
    """`paths` are those of serving.engine.meeting.MeetingPoint, `number` is the rank's in the gang.

    The inward one first, on all ranks alike: who waits for its other end then never waits in a circle.
    Raises HandoffTimeout.
    """
    stage = number // settings.ranks
    receiving, sending = time_limits(settings.exchange_seconds, stage, settings.stages)

    def opened(path: str | None, peer: int, seconds: float, *, sends: bool) -> Handoff | None:
        if path is None:
            return None
        if settings.exchange == "gloo":
            return GlooHandoff(Path(path), config.hidden_size, peer, seconds, sends=sends)
        return ShmHandoff(Path(path), handoff_layout(config, settings.step_tokens), peer, seconds, is_void)

    inward = opened(paths["inward"], number - settings.ranks, receiving, sends=False)
    return inward, opened(paths["outward"], number + settings.ranks, sending, sends=True)
