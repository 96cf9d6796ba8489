"""Who sits at the desk: the signed-in reviewer, their gateway, and the dashboard's settings."""

from __future__ import annotations

from dataclasses import dataclass

from review_ui.client import Gateway, Me
from review_ui.settings import Settings


@dataclass(frozen=True, slots=True)
class Seat:
    """Handed to every view; a view asks for nothing else."""

    gateway: Gateway
    me: Me
    settings: Settings
