"""Runs one plan on one rank: tokens into the network, logits out, next tokens chosen."""

from __future__ import annotations

import time
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from serving.compiled.steps import Builder, CompiledSteps
from serving.engine.kv_cache import KvCache
from serving.engine.plan import CHOICE, NO_TARGET, Floats, RankAnswer, RankPlan
from serving.engine.sampler import choose
from serving.experts.exchange import Exchange
from serving.experts.rank_settings import RankSettings
from serving.model.batch import Chunk, build_batch
from serving.model.checkpoint import Checkpoint
from serving.model.transformer import Computed, Transformer
from serving.model.weights import load_weights


class Runner:
    def __init__(
        self, settings: RankSettings, checkpoint: Checkpoint, held: dict[int, tuple[int, ...]], exchange: Exchange
    ) -> None:
        config = checkpoint.config
        self.weights = load_weights(checkpoint, held)
        cache = KvCache(config.layers, settings.kv_blocks, settings.block_size, config.attention.cache_width)
        sizes = (settings.ranks, settings.block_size)
        home = Path(settings.compiled) if settings.compiled else None
        steps = CompiledSteps(home, checkpoint, self.weights, cache, *sizes) if home else None
        self._model = Transformer(config, self.weights, cache, exchange, steps)
        self._builder = (
            Builder(home, checkpoint, settings.ranks, len(cache.rows(0)), settings.block_size) if home else None
        )
        self._block_size, self._window, self._exchange = settings.block_size, config.window, exchange

    def close(self) -> None:
        if self._builder:
            self._builder.close()

    def run(self, plan: RankPlan, started: float) -> RankAnswer:
        """`started` is when the plan arrived, by time.perf_counter(). Raises ExchangeTimeout."""
        waited = self._exchange.wait_seconds
        tokens = torch.tensor([token for s in plan.sequences for token in s.tokens], dtype=torch.int64)
        chunks = tuple(Chunk(s.start, len(s.tokens), tuple(s.blocks)) for s in plan.sequences)
        batch = build_batch(tokens, chunks, self._block_size, self._window, plan.counts)
        computed = self._model.forward(batch)
        return RankAnswer(
            step=plan.step,
            drawn=self._drawn(plan, computed),
            target_logprobs=self._target_logprobs(plan, computed.hidden),
            logits=self._model.logits(computed.hidden).numpy() if plan.want_logits else None,
            compute_seconds=time.perf_counter() - started,
            exchange_seconds=self._exchange.wait_seconds - waited,
            expert_load=self._model.expert_load().numpy(),
        )

    def _drawn(self, plan: RankPlan, computed: Computed) -> Floats:
        """A row for each sequence, as RankAnswer has it."""
        ends = accumulate(len(sequence.tokens) for sequence in plan.sequences)
        drawing = [(place, end, s) for place, (end, s) in enumerate(zip(ends, plan.sequences, strict=True)) if s.sampled]
        rows = np.full((len(plan.sequences), CHOICE + 2 * plan.top_k), np.nan)
        if drawing:
            wanted = torch.tensor([end - 1 for _, end, _ in drawing])
            found = self._model.measure(computed, wanted, plan.top_k)
            samplings, draws = [s.sampling for _, _, s in drawing], [s.draw for _, _, s in drawing]
            rows[[place for place, _, _ in drawing]] = choose(found, samplings, draws, plan.top_k)
        return rows

    def _target_logprobs(self, plan: RankPlan, hidden: Tensor) -> Floats:
        targets = np.array([t for s in plan.sequences for t in s.targets or [NO_TARGET] * len(s.tokens)], np.int64)
        found = np.full(len(targets), np.nan)
        wanted = np.flatnonzero(targets != NO_TARGET)
        if len(wanted):
            logprobs = torch.log_softmax(self._model.logits(hidden[torch.from_numpy(wanted)]), 1)
            column = torch.from_numpy(targets[wanted]).unsqueeze(1)
            found[wanted] = logprobs.gather(1, column).squeeze(1).double().numpy()
        return found
