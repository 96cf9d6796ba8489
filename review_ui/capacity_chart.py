"""Draws what each threshold costs in reviews against what it risks, with what is allowed and what is advised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from review_ui.capacity_figures import Capacity, Choice, Wish
from review_ui.confidence_charts import HEIGHT, LIMIT, MEASURED, PERCENT, limit_line
from review_ui.measured import percent

FEW = 30  # points that are drawn as such; of more, the line is enough


def curve(found: Capacity, wish: Wish) -> alt.LayerChart:
    """Needs one point at least. What lies left of and under both dashed lines meets both wishes."""
    daily = [choice.reviews_per_day for choice in found.curve if choice.reviews_per_day is not None]
    a_day = len(daily) == len(found.curve)
    risks = [choice.released_risk for choice in found.curve] + [wish.error_budget]
    x = _a_day(max([*daily, found.capacity_per_day or 0.0])) if a_day else _shares()
    y = alt.Y(
        "released_risk:Q", title="Wrong among the released", axis=PERCENT,
        scale=alt.Scale(domain=[0, max(risks) * 1.15 or 1]),
    )  # fmt: skip
    base = _base(found.curve).encode(x=x, y=y)
    dots = base.mark_point(color=MEASURED, filled=True, size=36, opacity=1 if len(found.curve) <= FEW else 0)
    layers: list[Any] = [base.mark_line(color=MEASURED, strokeWidth=2.5), dots]
    layers += limit_line(wish.error_budget, f"error budget {percent(wish.error_budget, 1)}", named_right=True)
    if found.capacity_per_day is not None and a_day:
        layers += limit_line(found.capacity_per_day, f"time for {found.capacity_per_day:,.0f}", across=False)
    if found.chosen is not None:
        best = _base([found.chosen]).encode(x=x, y=y)
        name = best.mark_text(align="left", dx=12, dy=-10, fontWeight=600, color=LIMIT).encode(text="label:N")
        layers += [best.mark_point(shape="diamond", filled=True, size=200, color=LIMIT, opacity=1), name]
    return alt.layer(*layers).properties(height=HEIGHT)


def _a_day(most: float) -> alt.X:
    return alt.X("reviews_per_day:Q", title="Reviews a day", scale=alt.Scale(domain=[0, most * 1.1 or 1]))


def _shares() -> alt.X:
    return alt.X("review_rate:Q", title="Share reviewed", scale=alt.Scale(domain=[0, 1]), axis=PERCENT)


def _base(choices: Sequence[Choice]) -> alt.Chart:
    rows = [{**asdict(choice), "label": f"threshold {percent(choice.threshold, 1)}"} for choice in choices]
    return alt.Chart(alt.Data(values=rows)).encode(
        tooltip=[
            alt.Tooltip("threshold:Q", title="Threshold", format=".1%"),
            alt.Tooltip("review_rate:Q", title="Reviewed", format=".1%"),
            alt.Tooltip("reviews_per_day:Q", title="Reviews a day", format=",.0f"),
            alt.Tooltip("released_risk:Q", title="Wrong among the released", format=".2%"),
        ]
    )
