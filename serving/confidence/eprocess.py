"""Watches audited releases: a wealth that grows only while more of them are wrong than the certificate allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.confidence.betting import mean_wealth

BETS = (0.5, 1.0, 2.0, 3.0, 4.0)
START = (0.0,) * len(BETS)


@dataclass(frozen=True)
class Watch:
    """The state of one certificate's watch: one logarithm of wealth for each bet of `BETS`, and how many were audited."""

    log_wealths: tuple[float, ...] = START
    audited: int = 0

    @property
    def wealth(self) -> float:
        """The mean over the bets; under the certified risk it passes 1/δ with probability at most δ, ever."""
        return mean_wealth(self.log_wealths)

    def after(self, wrong: bool, alpha: float, weight: float = 1.0) -> Watch:
        """The state after one more audit. `weight` is (1/π)/(largest 1/π in use), in (0, 1]; 1 while π is constant."""
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha: must lie between 0 and 1, not {alpha}")
        if not 0.0 < weight <= 1.0:
            raise ValueError(f"weight: must lie in (0, 1], as a share of the largest weight in use, not {weight}")
        surprise = weight * ((1.0 if wrong else 0.0) - alpha)
        largest = 0.99 / alpha  # a right answer must not ruin a bet
        logs = tuple(
            log + math.log1p(min(bet, largest) * surprise) for log, bet in zip(self.log_wealths, BETS, strict=True)
        )
        return Watch(logs, self.audited + 1)

    def alarmed(self, delta: float) -> bool:
        """Whether the evidence suffices to stop: wealth >= 1/delta."""
        return self.wealth >= 1.0 / delta


def watch_to_json(watch: Watch) -> dict[str, Any]:
    return {"log_wealths": list(watch.log_wealths), "audited": watch.audited}


def watch_from_json(body: Mapping[str, Any]) -> Watch:
    """Reads what `watch_to_json` wrote; raises ValueError naming the field."""
    logs, audited = body.get("log_wealths"), body.get("audited")
    if not isinstance(logs, list) or len(logs) != len(BETS) or not all(_finite(log) for log in logs):
        raise ValueError(f"log_wealths: must be a list of {len(BETS)} finite numbers")
    if isinstance(audited, bool) or not isinstance(audited, int) or audited < 0:
        raise ValueError("audited: must be a whole number of at least 0")
    return Watch(tuple(float(log) for log in logs), audited)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
