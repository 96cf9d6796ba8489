"""Decides whether an expert layer's rows go to all ranks or each to its experts', from what all ranks know alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

# (rows of each rank, top_k, hidden size) → whether to send each row only to the ranks of its experts
ChooseWay = Callable[[tuple[int, ...], int, int], bool]

# Bytes that must be saved for the other way's own work; measured with benchmarks/engine_exchange.py. In shared memory
# a row is written once for all ranks either way, so that little but what comes back is saved.
SHM_LEAST_SAVED = 4 * 1024 * 1024
GLOO_LEAST_SAVED = 256 * 1024


def ways_from(least_saved: int) -> ChooseWay:
    """All-to-all from where it is expected to save each rank so many bytes."""

    @lru_cache(maxsize=1024)  # a step asks once a layer, and the steps of a busy engine are alike
    def all_to_all_pays(counts: tuple[int, ...], top_k: int, hidden: int) -> bool:
        return saved_bytes(counts, top_k, hidden) >= least_saved

    return all_to_all_pays


def saved_bytes(counts: tuple[int, ...], top_k: int, hidden: int) -> float:
    """Of fp32 rows that a rank is not given and need not answer, if all experts are hit alike."""
    ranks, total = len(counts), sum(counts)
    concerned = 1.0 - (1.0 - 1.0 / ranks) ** top_k  # share of the rows that have an expert on a given rank
    return 2.0 * 4.0 * hidden * total * (1.0 - concerned)


def concerned_ranks(copies: Tensor, holders: Tensor, ranks: int) -> Tensor:
    """[rows, k] ids of copies → bool [rows, ranks]: which ranks hold an expert of the row."""
    return holders.new_zeros(len(copies), ranks, dtype=torch.bool).scatter_(1, holders[copies], True)
