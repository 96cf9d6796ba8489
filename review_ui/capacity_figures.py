"""What the gateway advises for the reviewers there are: one threshold, what it costs and risks, and the whole curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from review_ui.measured import complete, number


@dataclass(frozen=True, slots=True)
class Wish:
    """What the reviewers can do, and how much may be wrong."""

    reviewer_hours: float  # of all reviewers, a day
    minutes_per_item: float
    error_budget: float  # share of the released answers that may be wrong
    asks_per_day: float | None = None  # None: as many as lately

    def query(self) -> dict[str, Any]:
        return {"reviewer_hours": self.reviewer_hours, "minutes_per_item": self.minutes_per_item,
                "error_budget": self.error_budget, "asks_per_day": self.asks_per_day}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """One threshold: the share reviewed under it, the share wrong among the released, and the reviews a day."""

    threshold: float
    review_rate: float
    released_risk: float
    reviews_per_day: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """`chosen` is None where no threshold meets both; numbers are predictions from reviewed and audited answers."""

    why: str
    chosen: Choice | None
    capacity_per_day: float | None
    curve: tuple[Choice, ...]  # lowest threshold first
    asks_unknown: bool = False  # there is a curve, but nobody asked lately and no number was wished for

    def within(self, budget: float) -> Choice | None:
        """The one of fewest reviews whose risk is within the budget, whether or not there is time for them."""
        return min((c for c in self.curve if c.released_risk <= budget), key=lambda c: c.reviews_per_day, default=None)


NAMES = ("threshold", "review_rate", "released_risk", "reviews_per_day")


def capacity(data: dict[str, Any]) -> Capacity:
    """Raises KeyError, TypeError or ValueError when the gateway's answer has another shape."""
    chosen = complete([data], *NAMES) if data["feasible"] else []
    rows = data["curve"] or ()
    curve = sorted(complete(rows, *NAMES))
    return Capacity(
        why=str(data.get("why") or ""),
        chosen=Choice(*chosen[0]) if chosen else None,
        capacity_per_day=number(data["capacity_per_day"]),
        curve=tuple(Choice(*row) for row in curve),
        asks_unknown=not curve and bool(complete(rows, *NAMES[:3])),
    )
