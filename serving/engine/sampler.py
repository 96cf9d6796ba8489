"""Chooses the next token of each sequence and measures how sure the model was; no row looks at another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.engine.plan import Choice, Floats, Sampling

_MASK = (1 << 64) - 1


def choose(
    logits: npt.NDArray[np.float32],
    samplings: Sequence[Sampling],
    draws: Sequence[int],
    top_k: int,
    gate_entropies: Floats,
) -> list[Choice]:
    """Logits [rows, vocab] → a choice for each row; `draws` says how many tokens its sequence drew before.

    Log-probabilities and entropies (nats) are those of the model's own distribution, before temperature and top-p.
    """
    logprobs = log_softmax(logits.astype(np.float64))
    tokens = logprobs.argmax(1).tolist()
    for row, sampling in enumerate(samplings):
        if sampling.temperature > 0:
            tokens[row] = _draw(logprobs[row], sampling, draws[row])
    probabilities = np.exp(logprobs)
    entropies = -(probabilities * np.where(probabilities > 0, logprobs, 0.0)).sum(1)
    best = _best(logprobs, top_k)
    return [
        Choice(token, float(logprobs[row, token]), entropy, gate, _pairs(logprobs[row], ids))
        for row, (token, entropy, gate, ids) in enumerate(
            zip(tokens, entropies.tolist(), gate_entropies.tolist(), best.tolist(), strict=True)
        )
    ]


def log_softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    shifted: Floats = logits - logits.max(-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def gate_entropies(scores: npt.NDArray[np.float32]) -> Floats:
    """[expert layers, rows, experts] the gate's scores → [rows] nats, the mean over layers; NaN without such layers."""
    if not len(scores):
        return np.full(scores.shape[1], np.nan)
    shares = np.maximum(scores / scores.sum(-1, keepdims=True), 1e-30).astype(np.float64)
    entropies: Floats = -(shares * np.log(shares)).sum(-1).mean(0)
    return entropies


def uniform(seed: int, draw: int) -> float:
    """In [0, 1): the `draw`-th number of a seed's series, whatever else was drawn (splitmix64)."""
    state = (seed * 0x9E3779B97F4A7C15 + (draw + 1) * 0xD1B54A32D192ED03) & _MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = ((state ^ (state >> shift)) * factor) & _MASK
    return ((state ^ (state >> 31)) >> 11) / (1 << 53)


def _best(logprobs: Floats, top_k: int) -> npt.NDArray[np.int64]:
    """Ids of the most probable tokens [rows, top_k], best first."""
    vocab = logprobs.shape[1]
    if top_k >= vocab // 2:
        return np.argsort(-logprobs, axis=1, kind="stable")[:, :top_k]
    found = np.sort(np.argpartition(-logprobs, top_k, axis=1)[:, :top_k], axis=1)
    order = np.argsort(-np.take_along_axis(logprobs, found, 1), axis=1, kind="stable")
    best: npt.NDArray[np.int64] = np.take_along_axis(found, order, 1)
    return best


def _pairs(logprobs: Floats, ids: list[int]) -> tuple[tuple[int, float], ...]:
    return tuple(zip(ids, logprobs[ids].tolist(), strict=True))


def _draw(logprobs: Floats, sampling: Sampling, draw: int) -> int:
    probabilities = np.exp(log_softmax(logprobs / sampling.temperature))
    order = np.argsort(-probabilities, kind="stable")
    cumulative = probabilities[order].cumsum()
    # The smallest set of tokens that reaches top_p; at least the most probable one.
    kept = int(np.searchsorted(cumulative, sampling.top_p * cumulative[-1])) + 1
    cumulative = cumulative[:kept]
    place = int(np.searchsorted(cumulative, uniform(sampling.seed, draw) * cumulative[-1], side="right"))
    return int(order[min(place, len(cumulative) - 1)])
