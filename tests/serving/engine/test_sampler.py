"""The sampler follows its seed and its request alone, and reports the model's own distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from serving.engine.opened_plan import Draws
from serving.engine.plan import Choice, Sampling, read_choice
from serving.engine.sampler import choose, uniform
from serving.model.likelihoods import measure

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))
GREEDY = Sampling()


def choose_one(logits: np.ndarray, sampling: Sampling, draw: int = 0, top_k: int = 0, gate: float = 0.0) -> Choice:
    return choose_all(logits[None], [sampling], [draw], top_k, [gate])[0]


def choose_all(
    logits: np.ndarray, samplings: list[Sampling], draws: list[int], top_k: int, gates: list[float]
) -> list[Choice]:
    floats, integers = np.array([(s.temperature, s.top_p) for s in samplings]).T, [s.seed for s in samplings]
    how = Draws(floats[0], floats[1], np.array(integers), np.array(draws))
    drawn = choose(measure(torch.from_numpy(logits), top_k), np.array(gates), how, top_k)
    return [read_choice(row) for row in drawn.tolist()]


def draws(sampling: Sampling, count: int) -> list[int]:
    return [choose_one(LOGITS, sampling, draw).token_id for draw in range(count)]


def test_greedy_takes_the_most_probable_token() -> None:
    assert choose_one(LOGITS, GREEDY).token_id == 1


def test_a_tie_goes_to_the_lower_id() -> None:
    assert choose_one(np.zeros(4, np.float32), GREEDY, top_k=2).token_id == 0
    assert choose_one(np.array([0, 1, 1, 1], np.float32), GREEDY).token_id == 1


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(2.0, 0.5, 3), Sampling(0.1, 1.0, 9)])
def test_logprobs_top_and_entropy_are_those_before_temperature_and_top_p(sampling: Sampling) -> None:
    choice = choose_one(LOGITS, sampling, 0, 3, 1.5)
    assert choice.logprob == pytest.approx(float(LOGITS[choice.token_id]), abs=1e-6)
    assert [token for token, _ in choice.top] == [1, 3, 2]
    assert [logprob for _, logprob in choice.top] == pytest.approx([math.log(p) for p in (0.4, 0.3, 0.2)], abs=1e-6)
    assert choice.entropy == pytest.approx(-sum(p * math.log(p) for p in (0.1, 0.2, 0.3, 0.4)), abs=1e-6)
    assert choice.gate_entropy == 1.5


def test_a_row_is_chosen_alike_alone_and_among_others() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 262)).astype(np.float32)
    samplings = [GREEDY, Sampling(1.0, 1.0, 1), Sampling(0.5, 0.9, 2), Sampling(1.0, 0.3, 3), GREEDY, Sampling(2.0)]
    together = choose_all(logits, samplings, list(range(6)), 5, [float(n) for n in range(6)])
    assert together == [choose_one(logits[n], samplings[n], n, 5, float(n)) for n in range(6)]


@pytest.mark.parametrize("top_k", [0, 1, 5, 100, 140, 262])
def test_top_is_the_head_of_the_whole_order(top_k: int) -> None:
    logits = np.random.default_rng(1).integers(0, 9, 262).astype(np.float32)  # with many ties
    top = choose_one(logits, GREEDY, top_k=top_k).top
    logprobs = [logprob for _, logprob in top]
    assert logprobs == sorted(logprobs, reverse=True)
    assert sorted(logits[[token for token, _ in top]]) == sorted(np.sort(logits)[262 - top_k :])


def test_the_same_seed_draws_the_same_tokens() -> None:
    assert draws(Sampling(1.0, 1.0, 42), 50) == draws(Sampling(1.0, 1.0, 42), 50)


def test_seeds_differ() -> None:
    assert len({tuple(draws(Sampling(1.0, 1.0, seed), 20)) for seed in range(20)}) == 20


def test_draws_follow_the_distribution() -> None:
    shares = np.bincount(draws(Sampling(1.0, 1.0, 5), 20_000), minlength=4) / 20_000
    np.testing.assert_allclose(shares, [0.1, 0.4, 0.2, 0.3], atol=0.015)


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    cold = np.bincount(draws(Sampling(0.25, 1.0, 5), 4_000), minlength=4) / 4_000
    hot = np.bincount(draws(Sampling(2.0, 1.0, 5), 4_000), minlength=4) / 4_000
    assert cold[1] > 0.65
    assert hot[0] > 0.13


@pytest.mark.parametrize(("top_p", "possible"), [(0.05, {1}), (0.39, {1}), (0.69, {1, 3}), (0.89, {1, 3, 2})])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, possible: set[int]) -> None:
    assert set(draws(Sampling(1.0, top_p, 1), 500)) == possible


def test_uniform_numbers_fill_the_unit_interval_evenly() -> None:
    numbers = np.array([uniform(seed, draw) for seed in range(50) for draw in range(200)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_allclose(np.histogram(numbers, 10, (0, 1))[0] / len(numbers), 0.1, atol=0.01)


@pytest.mark.parametrize("top_p", [0.2, 0.7, 0.999])
def test_of_many_tokens_the_likeliest_are_drawn_as_from_all_of_them(top_p: float) -> None:
    logits = (np.random.default_rng(3).normal(size=4000) * 3).astype(np.float32)
    order = np.argsort(-logits, kind="stable")
    shares = np.exp(logits[order].astype(np.float64))
    kept = int(np.searchsorted(shares.cumsum() / shares.sum(), top_p)) + 1
    for draw in range(50):
        place = np.searchsorted(shares[:kept].cumsum(), uniform(9, draw) * shares[:kept].sum(), side="right")
        assert choose_one(logits, Sampling(1.0, top_p, 9), draw).token_id == order[place]
