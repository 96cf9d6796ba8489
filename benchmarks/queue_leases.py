"""Judges a record of grants: did one item ever belong to two, and how long did reviewers wait for their claims?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Grant:
    """One claim as its reviewer was told of it; times are the database's, in unix seconds."""

    item: str
    token: int
    holder: str
    begun: float
    ended: float  # by a verdict, a release, or the end of its lease

    def overlaps(self, later: Grant) -> bool:
        return later.begun < self.ended


def double_leases(grants: Iterable[Grant]) -> int:
    """How many grants of an item came with a token that was given before, or before an earlier grant had ended."""
    found = 0
    ordered = sorted(grants, key=attrgetter("item", "begun", "token"))
    for _, of_item in groupby(ordered, key=attrgetter("item")):
        tokens: set[int] = set()
        last: Grant | None = None  # of those so far, the one that ended last
        for grant in of_item:
            found += grant.token in tokens or (last is not None and last.overlaps(grant))
            tokens.add(grant.token)
            last = grant if last is None or grant.ended > last.ended else last
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
