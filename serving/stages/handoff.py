"""Knows what a stage hands to the next: each rank its own sequences' rows, to the rank that holds them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from serving.experts.exchange import ExchangeBroken, ExchangeTimeout


@dataclass(frozen=True, slots=True)
class Handed:
    """What the layers so far made of a step's rows."""

    hidden: Tensor  # [rows, hidden]
    gate_entropy: Tensor  # [rows] nats, summed over the expert layers so far; 0 where no token is drawn


class HandoffTimeout(ExchangeTimeout):
    """The rank before or after this one did not come in time: `missing` is its number in the gang.

    Where its connection broke, `missing` is empty: it may have left only because another rank is lost.
    """


def named_in_the_gang(error: ExchangeBroken, first: int) -> ExchangeBroken:
    """An exchange knows ranks by their places in its stage, whose first rank's number in the gang is `first`."""
    if not isinstance(error, ExchangeTimeout) or isinstance(error, HandoffTimeout):
        return error
    return ExchangeTimeout(tuple(first + place for place in error.missing), error.seconds)


class Handoff(Protocol):
    """One way, between two ranks; both know from the plan how many rows there are, and come also when there are none.

    Both calls raise ExchangeBroken: HandoffTimeout after the handoff's time limit, ExchangeVoid when called away.
    """

    @property
    def wait_seconds(self) -> float:
        """Total time spent waiting for the other rank."""
        ...

    def send(self, handed: Handed) -> None:
        """Returns when the rows may be overwritten; waits while SLOTS steps lie there unread."""
        ...

    def receive(self, rows: int) -> Handed:
        """The oldest step that was not received yet."""
        ...

    def close(self) -> None: ...
