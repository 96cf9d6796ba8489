"""Draws what each threshold costs in reviews against what it risks, with what is allowed and what is advised."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import altair as alt

from review_ui.capacity_figures import Capacity, Wish
from review_ui.confidence_charts import HEIGHT, LIMIT, MEASURED, PERCENT, limit_line
from review_ui.measured import percent


def curve(found: Capacity, wish: Wish) -> alt.LayerChart:
    """Needs one point at least. What lies left of and under both dashed lines meets both wishes."""
    lines = [choice.reviews_per_day for choice in found.curve] + [found.capacity_per_day or 0.0]
    risks = [choice.released_risk for choice in found.curve] + [wish.error_budget]
    x = alt.X("reviews_per_day:Q", title="Reviews a day", scale=alt.Scale(domain=[0, max(lines) * 1.1 or 1]))
    y = alt.Y("released_risk:Q", title="Wrong among the released", axis=PERCENT,
              scale=alt.Scale(domain=[0, max(risks) * 1.15 or 1]))  # fmt: skip
    told = [
        alt.Tooltip("threshold:Q", title="Threshold", format=".1%"),
        alt.Tooltip("review_rate:Q", title="Reviewed", format=".1%"),
        alt.Tooltip("reviews_per_day:Q", title="Reviews a day", format=",.0f"),
        alt.Tooltip("released_risk:Q", title="Wrong among the released", format=".2%"),
    ]
    base = alt.Chart(alt.Data(values=[asdict(choice) for choice in found.curve])).encode(x=x, y=y, tooltip=told)
    dots = base.mark_point(color=MEASURED, filled=True, size=36, opacity=1)
    layers: list[Any] = [base.mark_line(color=MEASURED, strokeWidth=2.5), dots]
    layers += limit_line(wish.error_budget, f"error budget {percent(wish.error_budget, 1)}")
    if found.capacity_per_day is not None:
        layers += limit_line(found.capacity_per_day, f"time for {found.capacity_per_day:,.0f}", across=False)
    if found.chosen is not None:
        row = {**asdict(found.chosen), "label": f"threshold {percent(found.chosen.threshold, 1)}"}
        best = alt.Chart(alt.Data(values=[row])).encode(x=x, y=y, tooltip=told)
        name = best.mark_text(align="left", dx=12, dy=-10, fontWeight=600, color=LIMIT).encode(text="label:N")
        layers += [best.mark_point(shape="diamond", filled=True, size=200, color=LIMIT, opacity=1), name]
    return alt.layer(*layers).properties(height=HEIGHT)


def described(found: Capacity) -> str:
    """The chart for who cannot see it."""
    least, most = found.curve[0], found.curve[-1]
    return (
        f"From {least.reviews_per_day:,.0f} reviews a day with {percent(least.released_risk, 1)} wrong among the "
        f"released to {most.reviews_per_day:,.0f} with {percent(most.released_risk, 1)}."
    )
