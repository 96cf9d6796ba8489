"""The promise itself, by simulation: a certificate is wrong in at most δ of draws from a known population."""

import random
from collections.abc import Callable

import pytest
from scipy.stats import binomtest

from serving.confidence.learn_then_test import Labelled, bound_of, fewest

DELTA = 0.1
CELLS = 40  # of the population: confidence (cell + .5)/40, all equally likely


def ranked(cell: int) -> float:
    """The risk falls evenly from .8 to 0: selective risk .2 is reached from cell 20 up."""
    return 0.8 * (1.0 - (cell + 0.5) / CELLS)


def rising_and_falling(cell: int) -> float:
    """A score that does not rank: the most confident tenth is wrong often, so the selective risk crosses .2 thrice."""
    return 0.24 if cell >= 36 else 0.12 if cell >= 24 else 0.35


def only_the_top(cell: int) -> float:
    """Less is releasable than the eighth of rows that the sequence begins with."""
    return 0.15 if cell >= 38 else 0.21


POPULATIONS = [ranked, rising_and_falling, only_the_top]


def selective_risk(risk: Callable[[int], float], threshold: float) -> float:
    cells = [cell for cell in range(CELLS) if (cell + 0.5) / CELLS >= threshold]
    return sum(map(risk, cells)) / len(cells)


def sample(risk: Callable[[int], float], rows: int, draws: random.Random) -> list[Labelled]:
    """Everything reviewed, so all of one weight."""
    cells = [draws.randrange(CELLS) for _ in range(rows)]
    return [Labelled((cell + 0.5) / CELLS, draws.random() >= risk(cell)) for cell in cells]


def audited(risk: Callable[[int], float], rows: int, draws: random.Random) -> list[Labelled]:
    """The upper half released and audited at 10 %, the rest reviewed."""
    everything = [row for row in sample(risk, rows, draws) if row.confidence < 0.5 or draws.random() < 0.1]
    return [Labelled(row.confidence, row.right, None, 1.0 if row.confidence < 0.5 else 10.0) for row in everything]


@pytest.mark.parametrize("risk", POPULATIONS)
@pytest.mark.parametrize(("rows", "labelling"), [(300, sample), (1200, audited)])
def test_a_certificate_is_wrong_in_at_most_delta_of_draws(
    risk: Callable[[int], float], rows: int, labelling: Callable[..., list[Labelled]]
) -> None:
    draws = random.Random(11)
    truth = {step / 200: selective_risk(risk, step / 200) for step in range(198)}
    wrong, runs = 0, 200
    for _ in range(runs):
        bound = bound_of(labelling(risk, rows, draws), alpha=0.2, delta=DELTA, at_least=0.0, heaviest=10.0)
        wrong += bound.threshold is not None and truth[bound.threshold] > 0.2
    assert binomtest(wrong, runs, DELTA, alternative="greater").pvalue > 0.01, f"{wrong} of {runs}"


def test_this_simulation_would_notice_a_plug_in_rule() -> None:
    draws = random.Random(11)
    wrong, runs = 0, 200
    for _ in range(runs):
        rows = sample(ranked, 300, draws)
        loosest = min(
            cell / CELLS
            for cell in range(CELLS)
            if (released := [row for row in rows if row.confidence >= cell / CELLS])
            and sum(not row.right for row in released) <= 0.2 * len(released)
        )
        wrong += selective_risk(ranked, loosest) > 0.2
    assert binomtest(wrong, runs, DELTA, alternative="greater").pvalue < 1e-6


def test_a_good_score_is_certified_close_to_what_is_possible() -> None:
    draws = random.Random(3)
    rows = sample(ranked, 4000, draws)
    threshold = bound_of(rows, alpha=0.2, delta=DELTA, at_least=0.0, heaviest=1.0).threshold
    assert threshold is not None
    assert 0.48 < threshold < 0.6


def test_rows_drawn_while_everything_was_reviewed_count_fully_beside_audits() -> None:
    draws = random.Random(5)
    light = [Labelled(row.confidence, row.right, heaviest=1.0) for row in sample(ranked, 1000, draws)]
    heavy = audited(ranked, 1000, draws)
    together = bound_of([*light, *heavy], alpha=0.2, delta=DELTA, at_least=0.0, heaviest=10.0)
    thinned = bound_of(
        [*(Labelled(row.confidence, row.right) for row in light), *heavy],
        alpha=0.2,
        delta=DELTA,
        at_least=0.0,
        heaviest=10.0,
    )
    assert together.labels == thinned.labels
    assert together.released > 4 * thinned.released


def test_the_fewest_rows_are_those_that_can_reach_delta() -> None:
    for alpha, delta in [(0.15, 0.05), (0.02, 0.01), (0.5, 0.1)]:
        assert (1 - alpha) ** fewest(alpha, delta) <= delta < (1 - alpha) ** (fewest(alpha, delta) - 1)
