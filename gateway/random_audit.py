"""Draws, from the answers that are released, those that a person looks at afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from gateway.policy import Ruling

Draw = Callable[[], float]  # a number in [0, 1) that nobody can foresee
draw_secretly: Draw = secrets.SystemRandom().random


def drawn(ruling: Ruling, draw: Draw) -> bool:
    """By chance alone, with the policy's share as the probability: neither caller nor model can tell beforehand."""
    return bool(ruling.audit_share) and draw() < (ruling.audit_share or 0.0)
