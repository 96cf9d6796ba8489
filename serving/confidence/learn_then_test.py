"""Finds the loosest threshold whose selective risk is certified, by fixed-sequence Learn-then-Test.

**Promise.** Let R(λ) be the share of wrong answers among those of confidence at least λ. The threshold found has
R > α with probability at most δ over the drawing of the labelled rows, which must be independent draws of the answers
to come. (Angelopoulos, Bates, Candès, Jordan and Lei, Learn then Test, 2021.)

**Fair rows.** A row drawn with probability π under a rule whose smallest probability is π_min is kept with probability
π_min/π (von Neumann's rejection): whatever was drawn more often than the rest is thinned to the rest's share, so the
rows kept are a fair sample of all answers. The draws are seeded: the same rows give the same certificate. Rows of
equal weight, as while everything is reviewed, are all kept.

**Test of one λ of a fixed grid.** Given how many rows lie at or above λ, the wrong ones among them are binomial with
rate R(λ); so P(Bin(n, α) <= errors) is an exact p-value of "R(λ) > α".

**Sequence.** From a start towards looser thresholds, each tested at the full δ, until one is not rejected. The start
is the strictest threshold with at least m rows. With n rows at the loosest threshold, and f the fewest that a
certificate takes, m is n/8, or √(f·n) where that is less, and at least f; labels have no part in it. Starting at the
very top would end the sequence by chance among a handful of rows; this m kept most power on five models and 100 to
8,000 labels (decision 0019).

**Why a single δ suffices.** Let J be the strictest threshold with R > α, and suppose that the cells of answers below
it are wrong in at least α of cases, as they are whenever the risk does not rise with confidence. If J has m rows or
more, the sequence comes to J before any looser one, so whatever is wrongly certified needs J rejected; that J has m
rows is a statement about counts at J and looser, given which its errors are still binomial: at most δ. If J has fewer,
the first test is of a looser threshold and includes all rows between it and J, wrong in at least α of cases each: its
errors are no fewer than binomial ones of rate α, and again at most δ. Where the risk rises and falls with confidence
so that it crosses α more than once, this argument does not reach; the tests draw from such populations too.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from serving.confidence.binomial import at_most

STEPS = 200  # thresholds are multiples of 1/200: a grid chosen before any label was seen
START_SHARE = 1 / 8


@dataclass(frozen=True)
class Labelled:
    """An answer whose truth is known, and how it came to be labelled."""

    confidence: float
    right: bool
    domain: str | None = None
    weight: float = 1.0  # 1/π, π the probability with which it was drawn to be labelled
    heaviest: float | None = None  # 1/π_min of the rule it was drawn under: 1 while everything is reviewed


@dataclass(frozen=True)
class Bound:
    """What is certified of one domain, and the evidence: P(Bin(released, α) <= errors) <= δ."""

    threshold: float | None  # least confidence at which release is certified; None: nothing is
    labels: int  # labelled rows of the domain
    released: int  # of those, tested at the threshold: at or above it, and kept where rows weigh differently
    errors: int  # of the released, the wrong ones
    coverage: float  # share of the domain's answers at or above the threshold; 0 where nothing is certified


def bound_of(rows: Sequence[Labelled], *, alpha: float, delta: float, at_least: float, heaviest: float) -> Bound:
    """The bound of one domain's rows; nothing looser than `at_least` is tested.

    `heaviest` holds for rows that do not say it themselves; no row may be heavier than its rule's heaviest.
    """
    fair = sorted(_fair(rows, heaviest), key=lambda row: row.confidence)
    thresholds = _grid(at_least)
    firsts = _firsts(fair, thresholds)
    wrong = [0, *accumulate(int(not row.right) for row in fair)]
    counts = [len(fair) - first for first in firsts]
    errors = [wrong[-1] - wrong[first] for first in firsts]
    enough = _enough(counts[-1], fewest(alpha, delta))
    certified: int | None = None
    for index, count in enumerate(counts):
        if count < enough:
            continue
        if at_most(errors[index], count, alpha) > delta:
            break
        certified = index
    if certified is None:
        return Bound(threshold=None, labels=len(rows), released=0, errors=0, coverage=0.0)
    threshold = thresholds[certified]
    return Bound(threshold, len(rows), counts[certified], errors[certified], _coverage(rows, threshold))


def fewest(alpha: float, delta: float) -> int:
    """The least number of rows with which anything can be certified: all right, and (1 − α)^n <= δ."""
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def _enough(rows: int, least: int) -> float:
    return max(float(least), min(rows * START_SHARE, math.sqrt(least * rows)))


def _fair(rows: Sequence[Labelled], heaviest: float) -> list[Labelled]:
    draws = random.Random(0)
    return [row for row in rows if draws.random() * (row.heaviest or heaviest) < row.weight]


def _grid(at_least: float) -> list[float]:
    """Strictest first; the last is `at_least` itself."""
    steps = [step / STEPS for step in range(STEPS, -1, -1)]
    return [*(step for step in steps if step > at_least), at_least]


def _firsts(ordered: Sequence[Labelled], thresholds: Sequence[float]) -> list[int]:
    """Of each threshold, the index of the first row at or above it."""
    confidences = [row.confidence for row in ordered]
    return [bisect_left(confidences, threshold) for threshold in thresholds]


def _coverage(rows: Sequence[Labelled], threshold: float) -> float:
    released = math.fsum(row.weight for row in rows if row.confidence >= threshold)
    return released / math.fsum(row.weight for row in rows)
