"""Draws the figures of confidence: measured in one colour, what is allowed as a dashed line that says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from review_ui.confidence_figures import NO_DOMAIN, Bound, ReleasedRisk, Reliability, RiskPoint, Watch
from review_ui.inert import visible
from review_ui.measured import percent

# Teal and orange stay apart for every kind of colour sight, and on both themes; shape and words tell them apart too.
MEASURED, LIMIT, QUIET = "#2f857e", "#d9711c", "#8a9491"
HEIGHT = 300
LABEL_EVERY = 0.07  # of the axis: counts nearer than that to the last one shown would cover it
FEW_DAYS = 4 * 86_400_000  # milliseconds: within so few, dates alone tell too little
LEAST_WEALTH = 1e-3  # lower ones are drawn here: how sure it is that all is well is of no interest
FOOT = alt.value("height")  # of the plot, which is lower than the chart by its axis
SHARES = alt.Scale(domain=[0, 1])
WITH_FOOT = alt.Scale(domain=[-0.1, 1])  # room for the counts under the lowest share
PERCENT = alt.Axis(format="%")
FIFTHS = alt.Axis(format="%", values=[0, 0.2, 0.4, 0.6, 0.8, 1])


def reliability(rows: Sequence[Reliability]) -> alt.LayerChart:
    """Confidence stated against the share that was right, with intervals, counts and the diagonal of exact honesty."""
    values = _with_counts(rows)
    ends = alt.Data(values=[{"confidence": 0, "accuracy": 0}, {"confidence": 1, "accuracy": 1}])
    x = alt.X("confidence:Q", title="Confidence stated", scale=SHARES, axis=PERCENT)
    y = alt.Y("accuracy:Q", title="Share that was right", scale=WITH_FOOT, axis=FIFTHS)
    told = [
        *_told(confidence="Stated", accuracy="Right", low="At least", high="At most"),
        alt.Tooltip("count:Q", title="Answers", format=","),
    ]
    base = alt.Chart(alt.Data(values=values)).encode(x=x, tooltip=told)
    diagonal = alt.Chart(ends).mark_line(strokeDash=[6, 4], color=QUIET).encode(x=x, y=y)
    intervals = base.mark_rule(color=MEASURED, strokeWidth=2, opacity=0.65).encode(
        y=alt.Y("low:Q", scale=WITH_FOOT), y2="high:Q"
    )
    points = base.mark_point(filled=True, color=MEASURED, size=80, opacity=1).encode(y=y)
    counts = base.mark_text(color=QUIET, baseline="bottom", dy=-3, fontSize=11).encode(y=FOOT, text="label:N")
    return alt.layer(diagonal, intervals, points, counts).properties(height=HEIGHT)


def risk_coverage(points: Sequence[RiskPoint], bounds: Sequence[Bound], alpha: float | None) -> alt.LayerChart:
    """Share released against share wrong among it; α as a line, and the thresholds in force on the curve."""
    rows = [{"threshold": p.threshold, "coverage": p.coverage, "risk": p.risk} for p in points]
    highest = max([p.risk for p in points] + ([alpha] if alpha is not None else []))
    x = alt.X("coverage:Q", title="Share released", scale=SHARES, axis=PERCENT)
    y = alt.Y(
        "risk:Q", title="Wrong among the released", scale=alt.Scale(domain=[0, highest * 1.15 or 1]), axis=PERCENT
    )
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=x, y=y, tooltip=_told(threshold="Threshold", coverage="Released", risk="Wrong")
    )
    layers: list[Any] = [base.mark_line(color=MEASURED, strokeWidth=2.5), base.mark_point(opacity=0, size=80)]
    if alpha is not None:
        layers += limit_line(alpha, f"allowed {percent(alpha)}")
    if in_force := _on_the_curve(points, bounds):
        marks = alt.Chart(alt.Data(values=in_force)).encode(
            x=x, y=y, tooltip=[alt.Tooltip("domain:N", title="Domain"), *_told(threshold="Threshold in force")]
        )
        layers.append(marks.mark_point(shape="diamond", filled=True, size=130, color=LIMIT, opacity=1))
    return alt.layer(*layers).properties(height=HEIGHT)


def released_risk(found: ReleasedRisk, alpha: float | None) -> alt.LayerChart:
    """The estimate with its interval, beside what is allowed."""
    row = {"estimate": found.estimate, "low": found.low, "high": found.high}
    highest = max(value for value in (found.estimate, found.high, alpha, 0.01) if value is not None)
    scale = alt.Scale(domain=[0, min(1.0, highest * 1.25)])
    x = alt.X("estimate:Q", title="Wrong among the released", scale=scale, axis=PERCENT)
    base = alt.Chart(alt.Data(values=[row])).encode(tooltip=_told(estimate="Estimate", low="At least", high="At most"))
    layers: list[Any] = [base.mark_point(filled=True, color=MEASURED, size=140, opacity=1).encode(x=x)]
    if found.low is not None and found.high is not None:
        layers.insert(
            0, base.mark_rule(color=MEASURED, strokeWidth=4, opacity=0.6).encode(x=alt.X("low:Q"), x2="high:Q")
        )
    if alpha is not None:
        layers += limit_line(alpha, f"allowed {percent(alpha)}", across=False)
    return alt.layer(*layers).properties(height=130)


def watch(found: Watch) -> alt.LayerChart:
    """The alarm's evidence over time on a logarithmic scale, with the line at which it is raised."""
    rows = [{"at": int(at * 1000), "wealth": max(wealth, LEAST_WEALTH), "audited": n} for at, wealth, n in found.points]
    highest = max(found.alarm_at or 1.0, *(row["wealth"] for row in rows))
    lowest = min(0.1, *(row["wealth"] for row in rows))
    scale = alt.Scale(type="log", nice=False, domain=[lowest / 2, highest * 3])
    powers = [10.0**n for n in range(math.ceil(math.log10(lowest / 2)), math.ceil(math.log10(highest * 3)))]
    # unix milliseconds are UTC; the scale keeps them so whatever the browser's zone
    clock = "%d %b" if rows[-1]["at"] - rows[0]["at"] > FEW_DAYS else "%d %b %H:%M"
    x = alt.X("at:T", title=None, scale=alt.Scale(type="utc"), axis=alt.Axis(format=clock, labelOverlap=True))
    y = alt.Y("wealth:Q", title="Evidence of too many wrong", scale=scale, axis=alt.Axis(format="~g", values=powers))
    told = [
        alt.Tooltip("at:T", title="At", format="%d %b %H:%M"),
        alt.Tooltip("wealth:Q", title="Evidence", format=".3g"),
        alt.Tooltip("audited:Q", title="Audited so far"),
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y, tooltip=told)
    line = base.mark_line(color=MEASURED, strokeWidth=2.5, interpolate="step-after")
    layers: list[Any] = [line, base.mark_point(color=MEASURED, filled=True, size=24, opacity=1)]
    if found.alarm_at:
        layers += limit_line(found.alarm_at, f"alarm at {found.alarm_at:.3g}")
    if found.alarmed_at is not None:
        layers += _raised(found.alarmed_at, x)
    return alt.layer(*layers).properties(height=HEIGHT)


def _raised(at: float, x: alt.X) -> list[alt.Chart]:
    base = alt.Chart(alt.Data(values=[{"at": int(at * 1000), "label": "alarm raised"}])).encode(x=x)
    name = base.mark_text(align="right", dx=-6, dy=-4, baseline="bottom", color=LIMIT, fontWeight=600)
    return [
        base.mark_rule(color=LIMIT, strokeWidth=2),
        name.encode(y=FOOT, text="label:N"),
    ]


def limit_line(value: float, label: str, *, across: bool = True, named_right: bool = False) -> list[alt.Chart]:
    """A dashed line at what is allowed, named; across the chart, or from top to bottom."""
    base = alt.Chart(alt.Data(values=[{"value": value, "label": label}]))
    rule = base.mark_rule(strokeDash=[6, 4], strokeWidth=2, color=LIMIT)
    if not across:
        name = base.mark_text(align="left", dx=6, baseline="top", color=LIMIT, fontWeight=600)
        return [rule.encode(x="value:Q"), name.encode(x="value:Q", y=alt.value(2), text="label:N")]
    align, dx, end = ("right", -6, alt.value("width")) if named_right else ("left", 6, alt.value(0))
    name = base.mark_text(align=align, dx=dx, dy=-4, baseline="bottom", color=LIMIT, fontWeight=600)
    return [rule.encode(y="value:Q"), name.encode(x=end, y="value:Q", text="label:N")]


def _with_counts(rows: Sequence[Reliability]) -> list[dict[str, Any]]:
    """Each row with its count as a label, where there is room for it."""
    drawn, last = [], -1.0
    for row in rows:
        room = row.confidence - last >= LABEL_EVERY
        last = row.confidence if room else last
        drawn.append({"confidence": row.confidence, "accuracy": row.accuracy, "low": row.low, "high": row.high,
                      "count": row.count, "label": f"{row.count:,}" if room else ""})  # fmt: skip
    return drawn


def _on_the_curve(points: Sequence[RiskPoint], bounds: Sequence[Bound]) -> list[dict[str, Any]]:
    """Each threshold in force at the curve's point that releases the most at or above it."""
    placed = []
    for bound in bounds:
        reached = [p for p in points if bound.threshold is not None and p.threshold >= bound.threshold]
        if reached:
            nearest = min(reached, key=lambda p: p.threshold)
            placed.append({"domain": visible(bound.domain) or NO_DOMAIN, "threshold": bound.threshold,
                           "coverage": nearest.coverage, "risk": nearest.risk})  # fmt: skip
    return placed


def _told(**titles: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:Q", title=title, format=".1%") for name, title in titles.items()]
