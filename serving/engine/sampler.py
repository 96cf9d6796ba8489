"""Chooses the next token of each sequence and measures how sure the model was; depends on no batch neighbour."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.engine.plan import Choice, Floats, Sampling

_MASK = (1 << 64) - 1


def choose(logits: npt.NDArray[np.float32], sampling: Sampling, draw: int, top_k: int, gate_entropy: float) -> Choice:
    """One row of logits [vocab] → a choice. Log-probabilities and entropy (nats) are those before temperature."""
    logprobs = log_softmax(logits.astype(np.float64))
    token = _greedy(logprobs) if sampling.temperature <= 0 else _draw(logprobs, sampling, draw)
    probabilities = np.exp(logprobs)
    entropy = -float(np.dot(probabilities, np.where(probabilities > 0, logprobs, 0.0)))
    best = np.argsort(-logprobs, kind="stable")[:top_k].tolist() if top_k else []
    top = tuple((place, float(logprobs[place])) for place in best)
    return Choice(token, float(logprobs[token]), entropy, gate_entropy, top)


def log_softmax(logits: Floats) -> Floats:
    shifted: Floats = logits - logits.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum())
    return result


def gate_entropies(scores: npt.NDArray[np.float32]) -> Floats:
    """[expert layers, rows, experts] sigmoid scores → [rows] nats, the mean over layers; NaN without such layers."""
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


def _greedy(logprobs: Floats) -> int:
    return int(logprobs.argmax())


def _draw(logprobs: Floats, sampling: Sampling, draw: int) -> int:
    probabilities = np.exp(log_softmax(logprobs / sampling.temperature))
    order = np.argsort(-probabilities, kind="stable")
    cumulative = probabilities[order].cumsum()
    # The smallest set of tokens that reaches top_p; at least the most probable one.
    kept = int(np.searchsorted(cumulative, sampling.top_p * cumulative[-1])) + 1
    cumulative = cumulative[:kept]
    place = int(np.searchsorted(cumulative, uniform(sampling.seed, draw) * cumulative[-1], side="right"))
    return int(order[min(place, len(cumulative) - 1)])
