"""Watches audited releases: a wealth that grows only while more of them are wrong than the certificate allows.

Each bet λ multiplies its stake by 1 + λ(err − α) at every audit. While an audited answer is wrong with probability at
most α, whatever came before, no stake grows in expectation; so their sum, which begins at 1, ever reaches 1/δ with
probability at most δ (Ville's inequality). It may be looked at after every audit, for as long as one likes.

Half of the wealth is staked at once. The other half is staked bit by bit, ½(1/√t − 1/√(t+1)) after audit t: stakes
shrink while all is well, and a watch that had staked everything at once would, after 500 quiet audits, need 500 more
to win back what it lost before it could alarm; so it needs half, and the alarm of a fresh watch comes no later.

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
START = (math.log(0.5),) * len(BETS)
_LARGEST_EXPONENT = 700.0  # of a float
_LARGEST_LOSS = 0.9  # of a stake by one right answer; lowers the bets of 4 and 3 where α is above .225 and .3


@dataclass(frozen=True)
class Watch:
    """The state of one certificate's watch, as numbers to be stored."""

    log_wealths: tuple[float, ...] = START  # of what each bet of `BETS` has made of the wealth staked so far
    audited: int = 0

    @property
    def wealth(self) -> float:
        """The mean over the bets and what is not yet staked; while the risk is at most α, 1/δ with probability δ."""
        highest = max(self.log_wealths)
        if highest > _LARGEST_EXPONENT:
            return math.inf
        staked = math.exp(highest) * math.fsum(math.exp(log - highest) for log in self.log_wealths) / len(BETS)
        return staked + _unstaked(self.audited)

    def after(self, wrong: bool, alpha: float, weight: float = 1.0) -> Watch:
        """The state after one more audit. `weight` is (1/π)/(largest 1/π in use), in (0, 1]; 1 where all share one π.

        Raises ValueError for an alpha or a weight out of range.
        """
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha: must lie between 0 and 1, not {alpha}")
        if not 0.0 < weight <= 1.0:
            raise ValueError(f"weight: must lie in (0, 1], as a share of the largest weight in use, not {weight}")
        surprise = weight * ((1.0 if wrong else 0.0) - alpha)
        fresh = _unstaked(self.audited) - _unstaked(self.audited + 1)
        logs = (
            _log_of_sum(log + math.log1p(min(bet, _LARGEST_LOSS / alpha) * surprise), fresh)
            for log, bet in zip(self.log_wealths, BETS, strict=True)
        )
        return Watch(tuple(logs), self.audited + 1)

    def alarmed(self, delta: float) -> bool:
        """Whether the evidence suffices to stop: wealth >= 1/delta."""
        return self.wealth >= 1.0 / delta


def _unstaked(audited: int) -> float:
    return 0.5 / math.sqrt(audited + 1)


def _log_of_sum(log: float, more: float) -> float:
    """log(exp(log) + more), where exp(log) may be too large for a float."""
    return math.log(math.exp(log) + more) if log < 0.0 else log + math.log1p(more * math.exp(-log))


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
