"""Loads, beside the steps, the experts that a rank will hold and does not yet."""

from __future__ import annotations

import threading
from collections.abc import Collection

from serving.experts.placement import Placement
from serving.model.checkpoint import Checkpoint
from serving.model.packed_experts import PackedExperts
from serving.model.weights import ExpertWeights, load_experts


class IncomingExperts:
    """Of one rank. The checkpoint was read whole when the rank began: its tensors come from memory, one at a time."""

    def __init__(
        self, checkpoint: Checkpoint, now: Placement, coming: Placement, rank: int, layers: Collection[int]
    ) -> None:
        """`rank` is the number in the stage that has the `layers`."""
        self.placement = coming
        self.loaded: dict[int, ExpertWeights | PackedExperts] = {}  # by layer; whole once `ready`
        self.reason = ""  # why it failed
        self._checkpoint, self._wanted = checkpoint, missing_experts(now, coming, rank, layers)
        self._given_up = False
        self._thread = threading.Thread(target=self._load, name="incoming-experts", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether everything is loaded, or never will be: see `reason`."""
        return not self._thread.is_alive()

    def give_up(self) -> None:
        """It ends behind the layer it is at; nothing is waited for."""
        self._given_up = True

    def _load(self) -> None:
        try:
            for layer, experts in load_experts(self._checkpoint, self._wanted):
                if self._given_up:
                    return
                self.loaded[layer] = experts
        except Exception as error:  # whatever it is, the rank goes on with what it holds, and tells
            self.reason = f"{type(error).__name__}: {error}"


def missing_experts(
    now: Placement, coming: Placement, rank: int, layers: Collection[int]
) -> dict[int, tuple[int, ...]]:
    """By layer, what the rank will hold and does not; layers where it lacks nothing are left out."""
    held, wanted = now.held_by(rank, layers), coming.held_by(rank, layers)
    lacking = {layer: tuple(expert for expert in ids if expert not in held[layer]) for layer, ids in wanted.items()}
    return {layer: ids for layer, ids in lacking.items() if ids}
