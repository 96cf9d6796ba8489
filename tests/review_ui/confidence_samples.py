"""Real-looking figures of confidence and capacity, in the shapes of the gateway's monitoring API."""

from __future__ import annotations

import math
import random
from typing import Any

DAY = 86_400.0
LATELY = 200  # answers a day


def confidence(now: float) -> dict[str, Any]:
    """A month with a certificate in force for two of three domains, a few wrong audits, and one signal that moved."""
    return {
        "model": "countersign-reference@1f0c9a7b2e44",
        "calibration": {"id": "cal_7d1e02b9", "rows": 9000, "fitted_at": now - 40 * DAY, "metrics": {"ece": 0.012}},
        "certificate": {
            "id": "crt_5f0e2d9a1c7b4e33", "state": "in_force", "why": "Made from 1,640 labelled answers.",
            "alpha": 0.15, "delta": 0.05, "made_at": now - 12 * DAY,
            "domains": [bound("arithmetic", 0.78, 900, 0.71, 41, 640), bound("word-problem", 0.905, 610, 0.38, 19, 232),
                        bound("", None, 130, 0.0, 0, 0)],
        },
        "reliability": reliability(),
        "risk_coverage": risk_coverage(),
        "released_risk": {"estimate": 0.041, "low": 0.012, "high": 0.094, "audited": 86, "released": 2140,
                          "level": 0.95},
        "watch": watch(now),
        "drift": [drifted("logprob_sum", -2.2, 0.11), drifted("prompt_logprob_mean", -2.6, 0.43, warning=True),
                  drifted("length", 2.0, 0.12)],
        "waiting_for_labels": None,
    }  # fmt: skip


def bound(domain: str, threshold: float | None, labels: int, coverage: float, errors: int, released: int) -> Any:
    return {"domain": domain, "threshold": threshold, "labels": labels, "coverage": coverage, "errors": errors,
            "released": released}  # fmt: skip


def drifted(signal: str, low: float, outside: float, *, warning: bool = False) -> dict[str, Any]:
    return {"signal": signal, "p05": low, "p50": low + 0.8, "p95": low + 1.9, "outside": outside, "warning": warning}


def nothing_yet() -> dict[str, Any]:
    """A gateway that was just started: everything missing, or empty."""
    return {
        "model": "countersign-reference@1f0c9a7b2e44", "calibration": None, "certificate": None, "reliability": [],
        "risk_coverage": [], "released_risk": None, "watch": None, "drift": [],
        "waiting_for_labels": {"have": 12, "need": 200},
    }  # fmt: skip


def suspended(now: float) -> dict[str, Any]:
    """After the alarm: wrong answers among the audited ones, and too few fresh labels yet."""
    told = confidence(now)
    told["certificate"] |= {"state": "suspended", "why": "The alarm was raised after 131 audits."}
    told["released_risk"] |= {"estimate": 0.262, "low": 0.171, "high": 0.365, "audited": 131}
    points = [{"at": now - (131 - n) * DAY / 12, "audited": n + 1, "wealth": math.exp(3.4 * (n / 130) ** 2 - 0.3)}
              for n in range(131)]  # fmt: skip
    told["watch"] |= {"audited": 131, "wealth": 22.2, "alarmed_at": now - DAY / 12, "points": points}
    return {**told, "waiting_for_labels": {"have": 120, "need": 200}}


def reliability() -> list[dict[str, Any]]:
    """Groups of equal size, so they crowd where most answers lie."""
    rows, chance = [], random.Random(5)
    for stated in (0.08, 0.21, 0.37, 0.52, 0.66, 0.79, 0.88, 0.93, 0.965, 0.985):
        right = min(1.0, max(0.0, stated + chance.uniform(-0.04, 0.04)))
        half = 1.96 * math.sqrt(max(right * (1 - right), 0.002) / 160)
        rows.append({"confidence": stated, "accuracy": right, "low": max(0.0, right - half),
                     "high": min(1.0, right + half), "count": 160})  # fmt: skip
    return rows


def risk_coverage() -> list[dict[str, Any]]:
    return [{"threshold": 1 - n / 25, "coverage": 1 - (1 - n / 25) ** 1.6, "risk": 0.31 * (n / 25) ** 1.9}
            for n in range(1, 26)]  # fmt: skip


def watch(now: float) -> dict[str, Any]:
    wealth, points, chance = 1.0, [], random.Random(11)
    for n in range(86):
        wealth *= 1.9 if chance.random() < 0.05 else 0.955
        points.append({"at": now - (86 - n) * DAY / 8, "audited": n + 1, "wealth": wealth})
    return {"audited": 86, "wealth": wealth, "alarm_at": 20.0, "alarmed_at": None, "points": points}


def capacity(query: Any) -> dict[str, Any]:
    """As the gateway answers `GET /v1/monitoring/capacity`."""
    asks = float(query.get("asks_per_day", LATELY))
    budget, a_day = float(query["error_budget"]), float(query["reviewer_hours"]) * 60 / float(query["minutes_per_item"])
    curve = [choice(n / 100, asks) for n in range(101)]
    known = [row for row in curve if row["released_risk"] is not None]
    within = [row for row in known if row["released_risk"] <= budget]
    best = within[0] if within else known[-1]  # where infeasible, the one that comes nearest is told all the same
    feasible = bool(within) and best["reviews_per_day"] <= a_day
    return {"feasible": feasible, "why": "Made up.", **best, "capacity_per_day": a_day, "curve": curve}


def choice(threshold: float, asks: float | None) -> dict[str, Any]:
    """A point of the curve; too few labels lie above the highest thresholds to tell their risk."""
    rate = threshold**3
    risk = 0.12 * (1 - threshold) if threshold < 0.97 else None
    return {"threshold": threshold, "review_rate": rate, "released_risk": risk,
            "reviews_per_day": None if asks is None else asks * rate}  # fmt: skip
