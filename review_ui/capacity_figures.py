"""What the gateway advises for the reviewers there are: one threshold, what it costs and risks, and the whole curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from review_ui.measured import number


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
    reviews_per_day: float | None  # None: nobody said how many answers a day


@dataclass(frozen=True, slots=True)
class Capacity:
    """`chosen` is None where no threshold meets both; numbers are predictions from reviewed and audited answers."""

    why: str
    chosen: Choice | None
    capacity_per_day: float | None
    curve: tuple[Choice, ...]  # lowest threshold first

    def within(self, budget: float) -> Choice | None:
        """The one of fewest reviews whose risk is within the budget, whether or not there is time for them."""
        return min((c for c in self.curve if c.released_risk <= budget), key=lambda c: c.review_rate, default=None)


def capacity(data: dict[str, Any]) -> Capacity:
    """Raises KeyError, TypeError or ValueError when the gateway's answer has another shape."""
    found = (_choice(row) for row in data["curve"] or ())
    return Capacity(
        why=str(data.get("why") or ""),
        chosen=_choice(data) if data["feasible"] else None,
        capacity_per_day=number(data["capacity_per_day"]),
        curve=tuple(sorted((choice for choice in found if choice), key=lambda choice: choice.threshold)),
    )


def _choice(row: dict[str, Any]) -> Choice | None:
    """None where the threshold's risk is not known: too few labels lie above it."""
    threshold, rate, risk = number(row["threshold"]), number(row["review_rate"]), number(row["released_risk"])
    if threshold is None or rate is None or risk is None:
        return None
    return Choice(threshold, rate, risk, number(row["reviews_per_day"]))
