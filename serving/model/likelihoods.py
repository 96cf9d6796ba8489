"""Measures what the network thinks of the next token: log-probabilities, entropy, the likeliest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from serving.kernels.products import linear


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Of the model's own distribution, before temperature and top-p; nats, fp32."""

    logprobs: Tensor  # [rows, vocab]
    entropies: Tensor  # [rows]
    best: Tensor  # [rows] ids; of equal ones the lowest
    best_logprobs: Tensor  # [rows]
    top_logprobs: Tensor  # [rows, k], best first
    top_ids: Tensor  # [rows, k]

    def of(self, rows: Tensor) -> Likelihoods:
        """The same of some rows."""
        return Likelihoods(*(each.index_select(0, rows) for each in self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """In the order in which they are given."""
        return (self.logprobs, self.entropies, self.best, self.best_logprobs, self.top_logprobs, self.top_ids)


def logits(hidden: Tensor, norm: Tensor, head: Tensor, eps: float) -> Tensor:
    """[rows, hidden] after the last layer, [hidden], [vocab, hidden] → [rows, vocab]."""
    return linear(F.rms_norm(hidden, norm.shape, norm, eps), head)


def measure(given: Tensor, top_k: int) -> Likelihoods:
    """Of logits [rows, vocab]; `top_k` is at most the vocabulary."""
    logprobs = torch.log_softmax(given, 1)
    entropies = -(logprobs.exp() * logprobs).sum(1)
    top_logprobs, top_ids = torch.topk(logprobs, top_k, dim=1)
    best_logprobs, best = logprobs.max(1)
    return Likelihoods(logprobs, entropies, best, best_logprobs, top_logprobs, top_ids)
