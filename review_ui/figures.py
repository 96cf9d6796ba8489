"""The gateway's monitoring figures, read into rows that charts can draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BINS = 20


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in a stretch of time; shares are None where nothing happened."""

    actions: dict[str, int]
    review_rate: float | None
    threshold: float | None
    histogram: list[dict[str, Any]]  # {"from", "to", "action", "answers"}
    volume: list[dict[str, Any]]  # {"hour" (milliseconds), "action", "answers"}
    rate: list[dict[str, Any]]  # {"hour" (milliseconds), "rate"}
    verdicts: dict[str, int]
    median_seconds_to_verdict: float | None
    queue_depth: int
    oldest_waiting_seconds: float | None

    @property
    def answers(self) -> int:
        return sum(self.actions.values())


def figures(data: dict[str, Any]) -> Figures:
    """Raises KeyError, TypeError or ValueError when the gateway's answer has another shape."""
    return Figures(
        actions={name: int(count) for name, count in data["actions"].items()},
        review_rate=data["review_rate"],
        threshold=data.get("threshold"),
        histogram=_histogram(data["confidence_histogram"]),
        volume=_volume(data["hours"]),
        rate=_rate(data["hours"]),
        verdicts={name: int(count) for name, count in data["verdicts"].items()},
        median_seconds_to_verdict=data["median_seconds_to_verdict"],
        queue_depth=int(data["queue_depth"]),
        oldest_waiting_seconds=data["oldest_waiting_seconds"],
    )


def _histogram(by_action: dict[str, list[int]]) -> list[dict[str, Any]]:
    return [
        {"from": place / BINS, "to": (place + 1) / BINS, "action": action, "answers": count}
        for action, counts in by_action.items()
        for place, count in enumerate(counts)
        if count
    ]


ACTIONS = ("release", "flag", "hold", "escalate")


def _volume(hours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"hour": int(hour["hour"] * 1000), "action": action, "answers": hour[action]}
        for hour in hours
        for action in ACTIONS
        if hour.get(action)
    ]


def _rate(hours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for hour in hours:
        total = sum(hour.get(action, 0) for action in ACTIONS)
        if total:
            rows.append({"hour": int(hour["hour"] * 1000), "rate": 1 - hour.get("release", 0) / total})
    return rows
