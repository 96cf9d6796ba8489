"""Chooses the next token of each sequence from what the network thinks; no row looks at another."""

from __future__ import annotations

import numpy as np

from serving.engine.opened_plan import Draws
from serving.engine.plan import CHOICE, Floats, Integers
from serving.model.likelihoods import Likelihoods

_MASK = (1 << 64) - 1
_LIKELIEST = 256  # tokens that are looked at first where only the likeliest may be drawn


def choose(found: Likelihoods, gates: Floats, draws: Draws, top_k: int) -> Floats:
    """A choice for each row, laid out as `serving.engine.plan` has it, [rows, CHOICE + 2 * top_k].

    `gates` [rows] nats, the mean entropy of the gates, is told with it; `top_k` is at most that of `found`.
    """
    rows = np.empty((len(found.best), CHOICE + 2 * top_k))
    rows[:, 0], rows[:, 1] = found.best.numpy(), found.best_logprobs.numpy()
    rows[:, 2], rows[:, 3] = found.entropies.numpy(), gates
    rows[:, CHOICE : CHOICE + top_k] = found.top_ids.numpy()[:, :top_k]
    rows[:, CHOICE + top_k :] = found.top_logprobs.numpy()[:, :top_k]
    for row in np.flatnonzero(draws.temperatures > 0).tolist():
        logprobs = found.logprobs[row].double().numpy()
        token = _draw(logprobs, draws, row)
        rows[row, 0], rows[row, 1] = token, logprobs[token]
    return rows


def log_softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    shifted: Floats = logits - logits.max(-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def uniform(seed: int, draw: int) -> float:
    """In [0, 1): the `draw`-th number of a seed's series, whatever else was drawn (splitmix64)."""
    state = (seed * 0x9E3779B97F4A7C15 + (draw + 1) * 0xD1B54A32D192ED03) & _MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = ((state ^ (state >> shift)) * factor) & _MASK
    return ((state ^ (state >> 31)) >> 11) / (1 << 53)


def _draw(logprobs: Floats, draws: Draws, row: int) -> int:
    top_p, seed, number = float(draws.top_ps[row]), int(draws.seeds[row]), int(draws.numbers[row])
    probabilities = np.exp(log_softmax(logprobs / draws.temperatures[row]))
    order = _likeliest(probabilities, top_p)
    cumulative = probabilities[order].cumsum()
    # The smallest set of tokens that reaches top_p; at least the most probable one.
    kept = int(np.searchsorted(cumulative, top_p * probabilities.sum())) + 1
    cumulative = cumulative[:kept]
    place = int(np.searchsorted(cumulative, uniform(seed, number) * cumulative[-1], side="right"))
    return int(order[min(place, len(cumulative) - 1)])


def _likeliest(probabilities: Floats, mass: float) -> Integers:
    """Tokens by probability, equal ones by id, as far as they are needed to reach `mass`: sorting all takes long."""
    if len(probabilities) > 2 * _LIKELIEST and mass < 1.0:
        bound = np.partition(probabilities, -_LIKELIEST)[-_LIKELIEST]
        found = np.flatnonzero(probabilities >= bound)
        if probabilities[found].sum() > mass:
            return found[np.argsort(-probabilities[found], kind="stable")]
    return np.argsort(-probabilities, kind="stable")
