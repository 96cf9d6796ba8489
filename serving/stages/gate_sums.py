"""Joins what each stage measured of its gates: entropies are summed from stage to stage, the last takes the mean."""

from __future__ import annotations

import torch
from torch import Tensor

from serving.engine.plan import Floats
from serving.engine.sampler import gate_entropies


def entropies_so_far(scores: Tensor, drawn: Tensor, before: Tensor | None) -> Tensor:
    """Scores [own expert layers, rows, experts] → [rows] nats, with those of earlier stages; 0 but for rows `drawn`."""
    sums = torch.zeros(scores.shape[1]) if before is None else before.clone()
    if len(scores) and len(drawn):
        sums[drawn] += torch.from_numpy(gate_entropies(scores[:, drawn].numpy()) * len(scores)).to(sums.dtype)
    return sums


def mean_entropies(own: Floats, own_layers: int, before: Floats, layers: int) -> Floats:
    """`own` [rows] is the mean over this stage's expert layers, `before` the sum over earlier ones; NaN without any."""
    mean: Floats = before / layers if layers else own
    return mean + own * (own_layers / layers) if own_layers else mean
