"""Fits the monotone maps from score to probability: one for all, and one for each domain drawn towards it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from serving.confidence.score import IsotonicMap, Map, PlattMap, Points
from training.calibration_logistic import Problem
from training.calibration_shapes import rounded

Floats = NDArray[np.float64]

ISOTONIC_FROM = 500  # rows; fewer get Platt's two numbers
DOMAIN_FROM = 200  # rows of a domain; fewer are judged by the map for all
KAPPA = 200.0  # rows that the map for all weighs against a domain's own


def fit_map(scores: Floats, right: Floats) -> Map:
    """The monotone map from score to share of right answers; its ends stay off 0 and 1 by Laplace's rule."""
    if len(scores) < ISOTONIC_FROM:
        fitted = Problem(scores[:, None], np.zeros(len(scores)), right, 1e-3, np.zeros(1)).solve()
        end = 1.0 / (len(scores) + 2)
        return PlattMap(float(fitted.columns[0]), fitted.intercept, low=end, high=1.0 - end)
    bins = np.array_split(np.argsort(scores, kind="stable"), min(100, len(scores) // 50))
    centres = np.array([scores[part].mean() for part in bins])
    sizes = np.array([len(part) for part in bins], dtype=np.float64)
    rights = np.array([right[part].sum() for part in bins])
    _, step = np.unique(
        IsotonicRegression().fit_transform(centres, rights / sizes, sample_weight=sizes), return_inverse=True
    )
    # Each step of the staircase is smoothed by all of its rows, so that long steps may come close to 0 and 1.
    smooth = np.maximum.accumulate((np.bincount(step, rights) + 0.5) / (np.bincount(step, sizes) + 1.0))
    return _isotonic(centres, _tilted(smooth, step))


def fit_domain_maps(scores: Floats, right: Floats, domains: Sequence[str | None], for_all: Map) -> dict[str, Map]:
    """By domain, "" where none was recognised: p = (n * own + KAPPA * common) / (n + KAPPA), where n rows suffice.

    What recognised domains have in common is the map of all of them: foreign questions are no reason to trust a
    familiar one less. What is not recognised is drawn towards `for_all`.
    """
    names = np.array([name or "" for name in domains])
    recognised = names != ""
    common = fit_map(scores[recognised], right[recognised]) if recognised.sum() >= DOMAIN_FROM else for_all
    return {
        str(name): _drawn_together(scores[names == name], right[names == name], common if name else for_all)
        for name in np.unique(names)
        if np.sum(names == name) >= DOMAIN_FROM
    }


def _tilted(heights: Floats, step: NDArray[np.int64]) -> Floats:
    """[bins]: each step's height, tilted about its middle by an eighth of the way to the nearer step, 0 or 1.

    So scores within a step keep their order, and on the whole of it the probability stays what was counted.
    """
    below, above = np.diff(heights, prepend=0.0), np.diff(heights, append=1.0)
    tilt = np.minimum(below, above) / 8
    sizes = np.bincount(step)
    place = np.arange(len(step)) - (np.cumsum(sizes) - sizes)[step]  # of a bin within its step
    along = 2.0 * place / np.maximum(sizes - 1, 1)[step] - 1.0
    return np.maximum.accumulate(heights[step] + np.where(sizes[step] > 1, tilt[step] * along, 0.0))


def _drawn_together(scores: Floats, right: Floats, for_all: Map) -> IsotonicMap:
    own, count = fit_map(scores, right), len(scores)
    xs = np.union1d(_bends(own, scores), _bends(for_all, scores))
    heights = [(count * own.probability(x) + KAPPA * for_all.probability(x)) / (count + KAPPA) for x in xs.tolist()]
    return _isotonic(xs, np.maximum.accumulate(heights))


def _bends(fitted: Map, scores: Floats) -> Floats:
    """Where a map bends; Platt's curve is followed at quantiles of the scores."""
    if isinstance(fitted, IsotonicMap):
        return np.array([x for x, _ in fitted.points])
    return np.unique(np.quantile(scores, np.linspace(0.0, 1.0, 33)))


def _isotonic(xs: Floats, heights: Floats) -> IsotonicMap:
    """The map through these points, without those in the midst of level ground."""
    points = dict(zip(map(rounded, xs.tolist()), map(rounded, heights.tolist()), strict=True))
    found: Points = tuple(points.items())
    level = [0 < at < len(found) - 1 and found[at - 1][1] == y == found[at + 1][1] for at, (_, y) in enumerate(found)]
    return IsotonicMap(tuple(point for point, within in zip(found, level, strict=True) if not within))
