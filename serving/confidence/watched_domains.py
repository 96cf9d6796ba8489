"""Watches all audited releases of a certificate together, and those of each of its domains apart, with one wealth.

Half of the wealth bets that too much of everything released is wrong, the other half is shared out evenly among the
domains that the certificate releases. While the risk in each of them is at most α, none of the parts grows in
expectation, nor does their sum, so it ever reaches 1/δ with probability at most δ (see `eprocess`). A domain that is a
tenth of what is released and wrong throughout leaves the whole below α: only its own part sees it. Against a risk that
rose everywhere the halving costs ln 2 of evidence, two or three wrong answers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.confidence.eprocess import Watch, watch_from_json, watch_to_json


@dataclass(frozen=True)
class WatchedDomains:
    """The state of one certificate's watch, as numbers to be stored."""

    together: Watch = field(default_factory=Watch)
    apart: Mapping[str, Watch] = field(
        default_factory=dict
    )  # by domain, once it had an audit; "" is of none recognised

    @property
    def audited(self) -> int:
        return self.together.audited

    def wealth(self, domains: Collection[str]) -> float:
        """While the risk is at most α in each of `domains`, those the certificate releases, 1/δ with probability δ."""
        shares = [self.apart.get(name, Watch()).wealth for name in domains] or [self.together.wealth]
        return 0.5 * self.together.wealth + 0.5 * math.fsum(shares) / len(shares)

    def after(self, wrong: bool, alpha: float, domain: str | None) -> WatchedDomains:
        """The state after one more audit, of an answer of `domain`. Raises ValueError for an alpha out of range."""
        name = domain or ""
        mine = self.apart.get(name, Watch()).after(wrong, alpha)
        return WatchedDomains(self.together.after(wrong, alpha), {**self.apart, name: mine})

    def alarmed(self, delta: float, domains: Collection[str]) -> bool:
        """Whether the evidence suffices to stop: wealth >= 1/delta."""
        return self.wealth(domains) >= 1.0 / delta


def watched_to_json(watched: WatchedDomains) -> dict[str, Any]:
    """Plain numbers, which `watched_from_json` reads back unchanged."""
    apart = {name: watch_to_json(watch) for name, watch in watched.apart.items()}
    return {"together": watch_to_json(watched.together), "apart": apart}


def watched_from_json(body: Mapping[str, Any]) -> WatchedDomains:
    """Reads what `watched_to_json` wrote; raises ValueError naming the field."""
    apart = body.get("apart")
    if not isinstance(apart, dict):
        raise ValueError("apart: must be an object, by domain")
    watches = {str(name): _part(each, f"apart.{name}") for name, each in apart.items()}
    together = _part(body.get("together"), "together")
    counted = sum(watch.audited for watch in watches.values())
    if counted != together.audited:
        raise ValueError(f"apart: the domains have {counted} audits and all together {together.audited}")
    return WatchedDomains(together, watches)


def _part(body: Any, place: str) -> Watch:
    if not isinstance(body, dict):
        raise ValueError(f"{place}: must be an object")
    try:
        return watch_from_json(body)
    except ValueError as error:
        raise ValueError(f"{place}.{error}") from None
