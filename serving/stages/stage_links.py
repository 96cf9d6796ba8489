"""A rank's ends of the handoffs from the stage before its own and to the one after, replaced with every epoch."""

from __future__ import annotations

from serving.experts.exchange import ExchangeVoid
from serving.stages.handoff import Handed, Handoff


class StageLinks:
    """Between two epochs there are none, and at the ends of the pipeline one: what is not there raises ExchangeVoid."""

    def __init__(self) -> None:
        self._inward: Handoff | None = None
        self._outward: Handoff | None = None

    @property
    def wait_seconds(self) -> float:
        """Total time spent waiting for other stages, in this epoch."""
        return sum(link.wait_seconds for link in (self._inward, self._outward) if link is not None)

    def begin(self, inward: Handoff | None, outward: Handoff | None) -> None:
        self.end()
        self._inward, self._outward = inward, outward

    def end(self) -> None:
        ended, self._inward, self._outward = (self._inward, self._outward), None, None
        for link in ended:
            if link is not None:
                link.close()

    def receive(self, rows: int) -> Handed:
        """Raises ExchangeBroken."""
        if self._inward is None:
            raise ExchangeVoid
        return self._inward.receive(rows)

    def send(self, handed: Handed) -> None:
        """Raises ExchangeBroken."""
        if self._outward is None:
            raise ExchangeVoid
        self._outward.send(handed)
