"""Runs inside vLLM's workers: measures each token's entropy where the logits are, and ends with the replica."""

from __future__ import annotations

import os
import select
import signal
import threading
from typing import Any

import torch
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.sample.sampler import Sampler

from serving.backends.vllm.environment import OWNER_VARIABLE

ENTROPY_ID = 0  # stands where the entropy's token would be; nobody reads it


class EntropySampler(Sampler):  # type: ignore[misc]  # vLLM is not there when types are checked
    """Its first alternative is no token but the entropy, in nats, of the whole distribution before temperature."""

    @staticmethod
    def gather_logprobs(logprobs: torch.Tensor, num_logprobs: int, token_ids: torch.Tensor) -> LogprobsTensors:
        """Log-probabilities [rows, vocab] → [rows, 1 + num_logprobs]: the token's, the entropy, the best ones.

        Where no alternatives are wanted, as for a prompt's tokens, there is no entropy either.
        """
        if num_logprobs < 1:
            return Sampler.gather_logprobs(logprobs, num_logprobs, token_ids)
        found = Sampler.gather_logprobs(logprobs, num_logprobs - 1, token_ids)
        entropies = torch.special.entr(logprobs.exp()).sum(-1, keepdim=True, dtype=torch.float64)
        names = torch.full_like(found.logprob_token_ids[:, :1], ENTROPY_ID)
        return found._replace(
            logprob_token_ids=_second(names, found.logprob_token_ids),
            logprobs=_second(entropies.to(found.logprobs.dtype), found.logprobs),
        )


class ReplicaWorker:
    """Methods that vLLM adds to its worker class; the replica calls them on every rank."""

    model_runner: Any

    def measure_entropies(self) -> dict[str, int]:
        """From now on. Returns who this rank is: `rank`, `pid`."""
        runner = self.model_runner
        runner.sampler = EntropySampler(runner.sampler.logprobs_mode, runner.sampler.use_fp64_gumbel)
        return {"rank": int(getattr(self, "rank", 0)), "pid": os.getpid()}


def _second(column: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    return torch.cat((table[:, :1], column, table[:, 1:]), dim=1)


def _end_with(owner: int) -> None:
    """A replica that is killed takes its workers along, and they vLLM's engine: it would go on without it."""
    try:
        descriptor = os.pidfd_open(owner)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)
        return
    select.select([descriptor], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


if owner := os.environ.get(OWNER_VARIABLE):
    threading.Thread(target=_end_with, args=(int(owner),), name="owner", daemon=True).start()
