"""Knows how the shared-memory exchange divides its file; no torch, so the driver can create it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serving.model.config import ModelConfig

LINE = 64  # bytes of a cache line: one arrival counter each, so that ranks do not share one


@dataclass(frozen=True, slots=True)
class ShmLayout:
    """Offsets in bytes of: arrival counters, gathered rows, expert ids, gate weights, contributions by rank."""

    ranks: int
    rows: int  # most rows of all ranks together in one step
    hidden: int
    top_k: int

    @property
    def rows_at(self) -> int:
        return LINE * self.ranks

    @property
    def ids_at(self) -> int:
        return _aligned(self.rows_at + 4 * self.rows * self.hidden)

    @property
    def weights_at(self) -> int:
        return _aligned(self.ids_at + 8 * self.rows * self.top_k)

    @property
    def contributions_at(self) -> int:
        return _aligned(self.weights_at + 4 * self.rows * self.top_k)

    @property
    def size(self) -> int:
        return self.contributions_at + 4 * self.ranks * self.rows * self.hidden


def shm_layout(config: ModelConfig, ranks: int, step_tokens: int) -> ShmLayout:
    """Room for every rank's full step."""
    return ShmLayout(ranks, ranks * step_tokens, config.hidden_size, config.experts_per_token)


class Sized(Protocol):
    @property
    def size(self) -> int:
        """Bytes."""
        ...


class SharedMemoryFull(OSError):
    """There is no room for an exchange; the message says where, and what to do."""


def create_shared_file(path: Path, layout: Sized) -> None:
    """An empty file of the layout's size, readable by this user only; all counters start at zero.

    Its memory is its own from here on: without room for it a rank would die of SIGBUS at some later step. Raises
    SharedMemoryFull.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, layout.size)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno != errno.ENOSPC:
            raise
        raise SharedMemoryFull(
            f"{path.parent} has no room for the {layout.size / 2**20:.1f} MiB through which ranks exchange rows: "
            "enlarge it (docker: --shm-size) or remove what fills it, or set COUNTERSIGN_EXCHANGE=gloo"
        ) from error
    finally:
        os.close(descriptor)


def _aligned(offset: int) -> int:
    return -(-offset // LINE) * LINE
