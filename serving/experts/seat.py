"""A rank's place in its gang: the network it runs, the placement it computes by, and the next one it loads for."""

from __future__ import annotations

from serving.engine.placed import Readiness
from serving.experts.exchange import Exchange
from serving.experts.incoming import IncomingExperts
from serving.experts.placement import Placement
from serving.experts.rank_settings import RankSettings
from serving.experts.runner import Runner
from serving.model.checkpoint import Checkpoint
from serving.stages.stage import stages_of
from serving.stages.stage_links import StageLinks


class Seat:
    """The driver says what to load for and when to switch; the rank says when it could."""

    def __init__(
        self,
        settings: RankSettings,
        checkpoint: Checkpoint,
        placement: Placement,
        number: int,
        exchange: Exchange,
        links: StageLinks,
    ) -> None:
        """Loads the rank's shard; `number` is the rank's in the gang. Raises CheckpointError."""
        of_stage, self.rank = divmod(number, settings.ranks)  # its number among the ranks of its stage
        self.number, self.stage = number, stages_of(checkpoint.config, settings.stages)[of_stage]
        self.runner = Runner(settings, checkpoint, placement, self.rank, exchange, self.stage, links)
        self._checkpoint, self._placement = checkpoint, placement
        self._incoming: IncomingExperts | None = None
        self._told = False  # the driver knows how the loading ended

    @property
    def held(self) -> dict[int, tuple[int, ...]]:
        """By layer of its stage, the experts that it holds."""
        return self._placement.held_by(self.rank, self.stage.layers)

    def move_to(self, placement: Placement) -> None:
        """Load what is lacking for it; for the one in force nothing is, and what was loaded for another is let go."""
        self._let_go()
        if placement.version != self._placement.version:
            self._incoming = IncomingExperts(self._checkpoint, self._placement, placement, self.rank, self.stage.layers)

    def readiness(self) -> Readiness | None:
        """Once, when the loading has ended."""
        incoming = self._incoming
        if incoming is None or self._told or not incoming.ended:
            return None
        self._told = True
        return Readiness(incoming.placement.version, incoming.reason)

    def compute_by(self, version: int) -> None:
        """The placement of this version, from the coming step on. Raises ValueError when it is not loaded."""
        if version == self._placement.version:
            return
        incoming = self._incoming
        if incoming is None or incoming.placement.version != version or not incoming.ended or incoming.reason:
            raise ValueError(f"placement {version} is not loaded, but {self._placement.version}")
        self.runner.place(incoming.placement, incoming.loaded)
        self._placement = incoming.placement
        self._let_go()

    def begin_epoch(self, version: int) -> None:
        """Compute by the placement in force; a move that had not come to that is over. Raises ValueError."""
        self.compute_by(version)
        self._let_go()

    def close(self) -> None:
        self._let_go()
        self.runner.close()

    def _let_go(self) -> None:
        if self._incoming is not None:
            self._incoming.give_up()
        self._incoming, self._told = None, False
