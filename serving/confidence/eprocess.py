"""Watches audited releases: a wealth that grows only while more of them are wrong than the certificate allows.

W_t is the mean over λ of Π(1 + λ(err − α)). While each audited answer is wrong with probability at most α whatever
came before, W is a non-negative supermartingale that starts at 1, so it ever reaches 1/δ with probability at most δ
(Ville's inequality): it may be looked at after each audit, for as long as one likes.

**Weights.** What must hold is E[err] <= α among all released answers of the moment. Where each is drawn for audit with
the same probability π, the audited ones are a fair sample and count fully, also when π itself changes from one day to
the next. Where π differs among the answers of one moment (by tier, say), an audit counts by (1/π)/(largest 1/π in use):
then E[weight·(err − α)] has the sign of (risk − α) among all released, and each factor is still positive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BETS = (0.5, 1.0, 2.0, 3.0, 4.0)
START = (0.0,) * len(BETS)
_LARGEST_EXPONENT = 700.0  # of a float
_LARGEST_LOSS = 0.9  # of a bet's wealth by one right answer; lowers the bets of 4 and 3 where α is above .225 and .3


@dataclass(frozen=True)
class Watch:
    """The state of one certificate's watch: the logarithm of each bet's wealth, in the order of `BETS`."""

    log_wealths: tuple[float, ...] = START
    audited: int = 0

    @property
    def wealth(self) -> float:
        """The mean over the bets; under the certified risk it passes 1/δ with probability at most δ, ever."""
        highest = max(self.log_wealths)
        if highest > _LARGEST_EXPONENT:
            return math.inf
        return math.exp(highest) * math.fsum(math.exp(log - highest) for log in self.log_wealths) / len(BETS)

    def after(self, wrong: bool, alpha: float, weight: float = 1.0) -> Watch:
        """The state after one more audit. `weight` is (1/π)/(largest 1/π in use), in (0, 1]; 1 while π is constant."""
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha: must lie between 0 and 1, not {alpha}")
        if not 0.0 < weight <= 1.0:
            raise ValueError(f"weight: must lie in (0, 1], as a share of the largest weight in use, not {weight}")
        surprise = weight * ((1.0 if wrong else 0.0) - alpha)
        bets = (min(bet, _LARGEST_LOSS / alpha) for bet in BETS)
        logs = (log + math.log1p(bet * surprise) for log, bet in zip(self.log_wealths, bets, strict=True))
        return Watch(tuple(logs), self.audited + 1)

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
