"""Watches all audited releases of a certificate together, and those of each of its domains apart, with one wealth.

Half of the wealth bets that too much of everything released is wrong, the other half is shared out evenly among the
domains that are released when the watch begins; the shares stay as they are, since what is seen must not move them, nor
another certificate that goes on with the watch. While the risk in each of them is at most α, none of the parts grows in
expectation, nor does their sum, so it ever reaches 1/δ with probability at most δ (see `eprocess`). A domain that is a
tenth of what is released and wrong throughout leaves the whole below α: only its own part sees it. Against a risk that
rose everywhere the halving costs ln 2 of evidence, two or three wrong answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.confidence.eprocess import Watch, watch_from_json, watch_to_json


@dataclass(frozen=True)
class WatchedDomains:
    """The state of one certificate's watch, as numbers to be stored."""

    together: Watch = field(default_factory=Watch)
    apart: Mapping[str, Watch] = field(default_factory=dict)  # by domain that has a share; "" is of none recognised

    @classmethod
    def of(cls, domains: Iterable[str]) -> WatchedDomains:
        """A new one, with an even share for each of the domains that are released."""
        return cls(Watch(), {name: Watch() for name in domains})

    @property
    def audited(self) -> int:
        return self.together.audited

    @property
    def wealth(self) -> float:
        """While the risk is at most α in each domain that has a share, 1/δ with probability δ."""
        shares = [watch.wealth for watch in self.apart.values()] or [self.together.wealth]
        return 0.5 * self.together.wealth + 0.5 * math.fsum(shares) / len(shares)

    def after(self, wrong: bool, alpha: float, domain: str | None) -> WatchedDomains:
        """The state after one more audit, of an answer of `domain`. Raises ValueError for an alpha out of range."""
        name, apart = domain or "", self.apart
        if name in apart:
            apart = {**apart, name: apart[name].after(wrong, alpha)}
        return WatchedDomains(self.together.after(wrong, alpha), apart)

    def alarmed(self, delta: float) -> bool:
        """Whether the evidence suffices to stop: wealth >= 1/delta."""
        return self.wealth >= 1.0 / delta


def watched_to_json(watched: WatchedDomains) -> dict[str, Any]:
    """Plain numbers, which `watched_from_json` reads back unchanged."""
    apart = {name: watch_to_json(watch) for name, watch in watched.apart.items()}
    wealth = watched.wealth if math.isfinite(watched.wealth) else None
    return {"together": watch_to_json(watched.together), "apart": apart, "wealth": wealth}


def watched_from_json(body: Mapping[str, Any]) -> WatchedDomains:
    """Reads what `watched_to_json` wrote; raises ValueError naming the field."""
    apart = body.get("apart")
    if not isinstance(apart, dict):
        raise ValueError("apart: must be an object, by domain")
    watches = {str(name): _part(each, f"apart.{name}") for name, each in apart.items()}
    together = _part(body.get("together"), "together")
    counted = sum(watch.audited for watch in watches.values())
    if counted > together.audited:
        raise ValueError(f"apart: the domains have {counted} audits and all together only {together.audited}")
    return WatchedDomains(together, watches)


def _part(body: Any, place: str) -> Watch:
    if not isinstance(body, dict):
        raise ValueError(f"{place}: must be an object")
    try:
        return watch_from_json(body)
    except ValueError as error:
        raise ValueError(f"{place}.{error}") from None
