"""Muon: momentum whose matrix updates are made orthogonal (Jordan et al., 2024), stacks included."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)  # the published coefficients: slope first, accuracy second


def orthogonal(matrix: Tensor) -> Tensor:
    """Five Newton-Schulz iterations over the last two dimensions; singular values end near 1."""
    a, b, c = _QUINTIC
    wide = matrix.shape[-2] <= matrix.shape[-1]
    x: Tensor = matrix if wide else matrix.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """For weight matrices and stacks of them; everything else belongs to AdamW.

    A group's `parts` says how many matrices lie on top of each other in one (gate and up projections).
    Updates are scaled to a root mean square of 0.2, AdamW's usual one (Liu et al., 2025).
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "parts": 1}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update from the gradients at hand."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"])  # Nesterov's look ahead
        rows, columns = parameter.shape[-2] // group["parts"], parameter.shape[-1]
        update = orthogonal(ahead.reshape(-1, rows, columns)).reshape(parameter.shape)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"] * 0.2 * max(rows, columns) ** 0.5)
