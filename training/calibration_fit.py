"""Fits a calibration: the score by penalised logistic regression, maps to probabilities, and the cascade's stages."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from serving.confidence.calibration import Calibration, Stage
from serving.confidence.cascade import MOST_SAMPLES, Cascade
from serving.confidence.domains import Recogniser
from training.calibration_collect import SAMPLE_TEMPERATURE
from training.calibration_domains import fit_recogniser
from training.calibration_logistic import Problem, Weights
from training.calibration_maps import fit_domain_maps, fit_map
from training.calibration_rows import Row
from training.calibration_shapes import (
    Basis,
    Floats,
    agreement_basis,
    bases_of,
    design_of,
    falls_of,
    floors_of,
    ranges_of,
    rounded,
    shapes_of,
    signal_table,
)
from training.calibration_stages import sampled_rows

FOLDS = 5
BAND = Cascade(low=0.10, high=0.93, most=MOST_SAMPLES, temperature=SAMPLE_TEMPERATURE)
STAGE_PENALTY = 3.0  # draws what a stage says of a signal towards what is said without samples
STAGE_FROM = 50  # rows that reach a stage; fewer do not make one


@dataclass(frozen=True)
class Fitted:
    """A score and its maps, with what the next stage starts from."""

    bases: list[Basis]
    weights: Weights
    by_fold: dict[int, Weights]  # weights that never saw a fold
    stage: Stage
    unseen: Floats  # [rows]: the probability of each row by weights that never saw it


@dataclass(frozen=True)
class Labelled:
    """Rows with what every stage needs to know of them."""

    rows: Sequence[Row]
    right: Floats  # [rows]
    foreign: NDArray[np.bool_]  # [rows]
    folds: NDArray[np.int64]  # [rows]
    domains: NDArray[np.str_]  # [rows]: as recognised, "" where not

    def taken(self, rows: Sequence[Row], wanted: NDArray[np.bool_]) -> Labelled:
        """The wanted ones, as `rows`."""
        return Labelled(rows, self.right[wanted], self.foreign[wanted], self.folds[wanted], self.domains[wanted])


def fit(
    rows: Sequence[Row],
    model: str,
    penalty: float = 1.0,
    fitted_at: float | None = None,
    cascade: Cascade = BAND,
) -> Calibration:
    """Fit score, maps, recogniser and, as far as rows hold samples, the stages. Foreign rows count as wrong.

    Raises ValueError where there is nothing to learn from: no rows, or all right, or all wrong.
    """
    with threadpool_limits(1):  # a fit is many small products: on a busy machine threads wait for each other
        return _fit(rows, model, penalty, time.time() if fitted_at is None else fitted_at, cascade)


def _fit(rows: Sequence[Row], model: str, penalty: float, fitted_at: float, cascade: Cascade) -> Calibration:
    recogniser = fit_recogniser(rows)
    labelled = _labelled(rows, recogniser)
    if not len(rows) or labelled.right.min() == labelled.right.max():
        raise ValueError("a calibration needs both right and wrong answers")
    values = signal_table(rows)
    free = _fit_free(labelled, values, penalty)
    stages = _fit_stages(labelled, free, cascade)
    return Calibration(
        model=model,
        shapes=free.stage.shapes,
        intercept=free.stage.intercept,
        map=free.stage.map,
        fitted_at=fitted_at,
        rows=len(rows),
        accuracy=float(labelled.right.mean()),
        signal_ranges=ranges_of(values, labelled.foreign),
        maps=free.stage.maps,
        recogniser=recogniser,
        stages=stages,
        cascade=Cascade(cascade.low, cascade.high, len(stages), cascade.temperature) if stages else None,
    )


def _labelled(rows: Sequence[Row], recogniser: Recogniser | None) -> Labelled:
    return Labelled(
        rows=rows,
        right=np.array([row.counted_right for row in rows], dtype=np.float64),
        foreign=np.array([row.foreign for row in rows], dtype=np.bool_),
        folds=np.array([hashlib.sha256((row.template or row.text).encode()).digest()[1] % FOLDS for row in rows]),
        domains=np.array([(recogniser and recogniser.domain(row.text)) or "" for row in rows], dtype=np.str_),
    )


def _fit_free(labelled: Labelled, values: dict[str, Floats], penalty: float) -> Fitted:
    """The score without samples."""
    bases = bases_of(values, labelled.foreign)
    problem = Problem(design_of(bases, values), falls_of(bases, values), labelled.right, penalty, floors_of(bases))
    weights = problem.solve()
    by_fold = problem.folds(labelled.folds, weights)
    everyone = np.ones(len(labelled.rows), dtype=np.bool_)
    return _with_maps(labelled, problem, bases, weights, by_fold, everyone)


def _fit_stages(labelled: Labelled, free: Fitted, cascade: Cascade) -> tuple[Stage, ...]:
    """One stage after the other, as long as enough rows reach it; each judges by all signals and the agreement."""
    stages: list[Stage] = []
    confidence = free.unseen
    reached = np.ones(len(labelled.rows), dtype=np.bool_)
    for count in range(1, cascade.most + 1):
        has = np.array([len(row.samples) >= count for row in labelled.rows])
        reached = reached & has & (cascade.low < confidence) & (confidence < cascade.high)
        rights = labelled.right[reached]
        if len(rights) < STAGE_FROM or rights.min() == rights.max():
            break
        fitted = _fit_stage(labelled, free, has, reached, count)
        stages.append(fitted.stage)
        confidence = np.full(len(labelled.rows), np.nan)
        confidence[has] = fitted.unseen
    return tuple(stages)


def _fit_stage(
    labelled: Labelled, free: Fitted, has: NDArray[np.bool_], reached: NDArray[np.bool_], count: int
) -> Fitted:
    """All rows with so many samples fit the score; the maps are of those alone that would have come so far."""
    taken = labelled.taken(sampled_rows([row for row in labelled.rows if len(row.samples) >= count], count), has)
    values = signal_table(taken.rows)
    bases = [*free.bases, agreement_basis(count)]
    before = {fold: np.append(weights.columns, np.zeros(count)) for fold, weights in free.by_fold.items()}
    start = np.append(free.weights.columns, np.zeros(count))
    problem = Problem(
        design_of(bases, values), falls_of(bases, values), taken.right, STAGE_PENALTY, floors_of(bases), start
    )
    weights = problem.solve(Weights(start, free.weights.intercept))
    by_fold = problem.folds(taken.folds, weights, before)
    return _with_maps(taken, problem, bases, weights, by_fold, reached[has])


def _with_maps(
    labelled: Labelled,
    problem: Problem,
    bases: list[Basis],
    weights: Weights,
    by_fold: dict[int, Weights],
    counted: NDArray[np.bool_],
) -> Fitted:
    """Maps are fitted to the scores of the counted rows, by weights that never saw them."""
    scores = problem.unseen(labelled.folds, by_fold)
    for_all = fit_map(scores[counted], labelled.right[counted])
    maps = fit_domain_maps(scores[counted], labelled.right[counted], labelled.domains[counted].tolist(), for_all)
    stage = Stage(shapes_of(bases, weights.columns), rounded(weights.intercept), for_all, maps)
    unseen = np.array(
        [stage.map_for(name).probability(x) for x, name in zip(scores.tolist(), labelled.domains.tolist(), strict=True)]
    )
    return Fitted(bases, weights, by_fold, stage, unseen)
