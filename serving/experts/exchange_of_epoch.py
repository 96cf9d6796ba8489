"""Gives the network one exchange to keep while the gang's real one is replaced with every epoch."""

from __future__ import annotations

from torch import Tensor

from serving.experts.exchange import Exchange, ExchangeVoid


class ExchangeOfEpoch:
    """Between two epochs there is none: whoever exchanges then raises ExchangeVoid."""

    def __init__(self) -> None:
        self._present: Exchange | None = None

    @property
    def wait_seconds(self) -> float:
        return self._of_now().wait_seconds

    def begin(self, exchange: Exchange) -> None:
        self.end()
        self._present = exchange

    def end(self) -> None:
        """The epoch is void: nobody waits for this rank's rows any more, nor it for theirs."""
        ended, self._present = self._present, None
        if ended is not None:
            ended.close()

    def dispatch(
        self, rows: Tensor, copies: Tensor, weights: Tensor, counts: tuple[int, ...], holders: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._of_now().dispatch(rows, copies, weights, counts, holders)

    def combine(self, contributions: Tensor, counts: tuple[int, ...]) -> Tensor:
        return self._of_now().combine(contributions, counts)

    def close(self) -> None:
        self.end()

    def _of_now(self) -> Exchange:
        if self._present is None:
            raise ExchangeVoid
        return self._present
