"""Measures what the network thinks of the next token: log-probabilities, entropy, the likeliest, the gates' doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Of the model's own distribution, before temperature and top-p; nats, fp32."""

    logprobs: Tensor  # [rows, vocab]
    entropies: Tensor  # [rows]
    gate_entropies: Tensor  # [rows], the mean over expert layers; NaN without such layers
    best: Tensor  # [rows] ids; of equal ones the lowest
    top_logprobs: Tensor  # [rows, k], best first
    top_ids: Tensor  # [rows, k]

    def of(self, rows: Tensor) -> Likelihoods:
        """The same of some rows."""
        return Likelihoods(*(each.index_select(0, rows) for each in self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """In the order in which they are given."""
        return (self.logprobs, self.entropies, self.gate_entropies, self.best, self.top_logprobs, self.top_ids)


def logits(hidden: Tensor, norm: Tensor, head: Tensor, eps: float) -> Tensor:
    """[rows, hidden] after the last layer, [hidden], [vocab, hidden] → [rows, vocab]."""
    return F.linear(F.rms_norm(hidden, norm.shape, norm, eps), head)


def measure(given: Tensor, gate_scores: Sequence[Tensor], top_k: int) -> Likelihoods:
    """Of logits [rows, vocab] and each expert layer's scores [rows, experts]; `top_k` is at most the vocabulary."""
    logprobs = torch.log_softmax(given, 1)
    entropies = -(logprobs.exp() * logprobs).sum(1)
    top_logprobs, top_ids = torch.topk(logprobs, top_k, dim=1)
    gates = gate_entropies(gate_scores, len(given))
    return Likelihoods(logprobs, entropies, gates, logprobs.argmax(1), top_logprobs, top_ids)


def gate_entropies(scores: Sequence[Tensor], rows: int) -> Tensor:
    """Each expert layer's scores [rows, experts] → [rows]."""
    if not scores:
        return torch.full((rows,), float("nan"))
    found = [_entropy(layer / layer.sum(1, keepdim=True)) for layer in scores]
    return torch.stack(found).mean(0)


def _entropy(shares: Tensor) -> Tensor:
    kept = shares.clamp(min=1e-30)
    return -(kept * kept.log()).sum(1)
