"""Draws the engine's figures: what a step costs beside what the cost model predicts, and tokens a second by engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.calibration_plots import BLUE, GREEN, GREY, ORANGE, PALE

SERIES = {
    "batch": "sequences",
    "context": "tokens of each sequence",
    "experts": "experts",
    "ranks": "sequences, two ranks",
}
_PLACE = {"batch": "batch", "context": "context", "experts": "experts", "ranks": "batch"}


def draw_cost(path: Path, rows: Sequence[Mapping[str, Any]], about: str) -> None:
    """Milliseconds of a decode step, measured and predicted, by what changes."""
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    for axes, (series, label) in zip(figure.subplots(2, 2).flat, SERIES.items(), strict=True):
        _draw_series(axes, [row for row in rows if row["series"] == series], _PLACE[series])
        axes.set(xlabel=label, ylabel="ms a step", ylim=(0, None))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.suptitle(f"What a decode step costs\n{about}", fontsize=11)
    figure.savefig(path, dpi=110)


def draw_rates(path: Path, ours: Mapping[int, float], peers: Mapping[str, Mapping[int, float]], about: str) -> None:
    """Tokens a second by batch and engine."""
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    axes, names = figure.subplots(), {"ours": ours, **peers}
    width, colours = 0.8 / len(names), (BLUE, ORANGE, GREEN, GREY, "#CC79A7")
    for number, (name, by_batch) in enumerate(names.items()):
        places = [place + (number - (len(names) - 1) / 2) * width for place in range(len(by_batch))]
        bars = axes.bar(places, list(by_batch.values()), width, color=colours[number % len(colours)], label=name)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, rotation=90, padding=3)
    axes.set_xticks(range(len(ours)), [f"{batch} at once" for batch in ours])
    axes.set(ylabel="tokens a second")
    axes.margins(y=0.18)
    axes.legend(frameon=False, ncols=3)
    _plain(axes)
    axes.set_title(about, fontsize=10)
    figure.savefig(path, dpi=110)


def _draw_series(axes: Axes, rows: Sequence[Mapping[str, Any]], place: str) -> None:
    rows = sorted(rows, key=lambda row: int(row[place]))
    x = [row[place] for row in rows]
    axes.plot(x, [row["predicted_ms"] for row in rows], color=ORANGE, linestyle="--", marker="s", label="predicted")
    axes.plot(x, [row["measured_ms"] for row in rows], color=BLUE, marker="o", linestyle="-", label="measured")
    fitted = [row for row in rows if row["fitted"]]
    if fitted:
        known = [row[place] for row in fitted], [row["measured_ms"] for row in fitted]
        axes.plot(*known, "o", color="white", markeredgecolor=BLUE, markersize=5, label="the model is fitted to these")
    axes.set_xticks(x)
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
