"""Draws a calibration's reliability diagram and risk-coverage curve, on answers that did not make it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.measures import Floats
from serving.confidence.binomial import clopper_pearson

# Okabe and Ito's colours, told apart with every kind of colour blindness, and by shape or dash where they meet.
BLUE, ORANGE, GREEN, BLACK, GREY, PALE = "#0072B2", "#D55E00", "#009E73", "#000000", "#555555", "#DDDDDD"
FEWEST_IN_BIN, MOST_BINS = 20, 12
LONGEST_LINE = 80  # characters of a subtitle
SHOWN_FROM = 20  # of the surest answers: the risk of fewer is noise


@dataclass(frozen=True, slots=True)
class Point:
    """One rule of release: how much it lets out, and how much of that is wrong."""

    coverage: float
    risk: float
    name: str


def draw_reliability(path: Path, confidence: Sequence[float], right: Sequence[bool], model: str, note: str) -> None:
    """How often answers of about the same confidence are right, with 95 % intervals and how many there are."""
    scores, labels = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    figure = Figure(figsize=(6.4, 7.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    above.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1, label="as it should be")
    bins = np.array_split(np.argsort(scores, kind="stable"), max(2, min(MOST_BINS, len(scores) // FEWEST_IN_BIN)))
    rows = [
        (scores[part].mean(), labels[part].mean(), *_interval(labels[part]), len(part)) for part in bins if len(part)
    ]
    x, y, low, high, counts = (np.array(column) for column in zip(*rows, strict=True))
    above.errorbar(x, y, (y - low, high - y), fmt="o", color=BLUE, capsize=3, markersize=6, label=_sizes(counts))
    above.set(ylim=(-0.02, 1.02), xlim=(-0.02, 1.02), ylabel="share of right answers")
    above.legend(loc="upper left", frameon=False)
    below.hist(scores, bins=np.linspace(0, 1, 41), color=BLUE)
    below.set(xlabel="confidence", ylabel="answers")
    for axes in (above, below):
        _plain(axes)
    _titled(above, "Does the confidence mean what it says?", f"{model}\n{note}")
    _save(figure, path)


def draw_risk_coverage(
    path: Path, confidence: Sequence[float], right: Sequence[bool], alpha: float, points: Sequence[Point], about: str
) -> None:
    """How many of the surest answers are wrong, for every share of them that might be released."""
    scores, labels = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    coverage, risk = _curve(scores, labels)
    base = 1.0 - labels.mean()
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(alpha, color=ORANGE, linestyle="--", linewidth=1.5, label=f"allowed: {alpha:.1%}")
    axes.axhline(base, color=GREY, linestyle=":", linewidth=1.5, label=f"releasing at random: {base:.1%}")
    axes.plot(coverage, risk, color=BLUE, linewidth=2, label="surest first")
    for point, colour, shape in zip(points, (GREEN, BLACK, GREY), "Dos", strict=False):
        axes.plot(
            point.coverage,
            point.risk,
            shape,
            color=colour,
            markersize=9,
            markeredgecolor="white",
            label=f"{point.name}: {point.coverage:.1%} released, {point.risk:.1%} of them wrong",
        )
    highest = max(float(risk.max()), base, alpha, *(point.risk for point in points), 0.05)
    axes.set(xlim=(0, 1), ylim=(0, 1.12 * highest), xlabel="coverage: share of answers released")
    axes.set_ylabel("risk: share of wrong ones among them")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.legend(loc="outside lower left", frameon=False, ncols=1, fontsize=9)
    _plain(axes)
    _titled(axes, "What releasing more costs", about)
    _save(figure, path)


def _curve(scores: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Coverage and risk at every confidence that occurs, from the SHOWN_FROM surest answers on."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal confidences all leave together
    kept = last[last + 1 >= min(SHOWN_FROM, len(order))]
    wrong = np.cumsum(1.0 - labels[order])
    return (kept + 1) / len(order), wrong[kept] / (kept + 1)


def _interval(labels: Floats) -> tuple[float, float]:
    return clopper_pearson(int(labels.sum()), len(labels))


def _sizes(counts: Floats) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low if low == high else f'{low} to {high}'} answers each, 95 % interval"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)


def _titled(axes: Axes, title: str, subtitle: str) -> None:
    lines = [line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…" for line in subtitle.splitlines()]
    axes.set_title(title, loc="left", fontweight="bold", fontsize=13, pad=10 + 13 * len(lines))
    told = axes.annotate(
        "\n".join(lines), (0, 1), (0, 7), "axes fraction", "offset points", va="bottom", fontsize=9, color=GREY
    )
    told.set_parse_math(False)  # a model's name may hold dollar signs


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120, metadata={"Software": None})
