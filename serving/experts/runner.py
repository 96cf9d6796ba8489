"""Runs one plan on one rank: tokens into the network, logits out, next tokens chosen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from serving.compiled.steps import Builder, CompiledSteps
from serving.engine.kv_cache import KvCache
from serving.engine.plan import NO_TARGET, Choice, Floats, RankAnswer, RankPlan
from serving.engine.sampler import choose, gate_entropies
from serving.experts.exchange import Exchange
from serving.experts.placement import Placement, slots_of
from serving.experts.rank_settings import RankSettings
from serving.model.batch import Chunk, build_batch
from serving.model.checkpoint import Checkpoint
from serving.model.packed_experts import PackedExperts
from serving.model.transformer import Computed, Transformer
from serving.model.weights import ExpertWeights, load_weights


class Runner:
    def __init__(
        self, settings: RankSettings, checkpoint: Checkpoint, placement: Placement, rank: int, exchange: Exchange
    ) -> None:
        config = checkpoint.config
        places = slots_of(config.experts, settings.ranks, settings.spare_experts)
        self.weights = load_weights(checkpoint, placement.held_by(rank), places)
        cache = KvCache(config.layers, settings.kv_blocks, settings.block_size, config.attention.cache_width)
        sizes = (settings.ranks, settings.block_size)
        home = Path(settings.compiled) if settings.compiled else None
        steps = CompiledSteps(home, checkpoint, self.weights, cache, *sizes) if home else None
        self._rank, self._model = rank, Transformer(config, self.weights, cache, exchange, steps)
        self._model.place(placement, rank, {})
        self._builder = (
            Builder(home, checkpoint, settings.ranks, len(cache.rows(0)), settings.block_size) if home else None
        )
        self._block_size, self._window, self._exchange = settings.block_size, config.window, exchange

    def close(self) -> None:
        if self._builder:
            self._builder.close()

    def place(self, placement: Placement, incoming: Mapping[int, ExpertWeights | PackedExperts]) -> None:
        """From the next step on; `incoming`: what this rank lacks. Raises ValueError when that is not all."""
        self._model.place(placement, self._rank, incoming)

    def run(self, plan: RankPlan, started: float) -> RankAnswer:
        """`started` is when the plan arrived, by time.perf_counter(). Raises ExchangeTimeout."""
        waited = self._exchange.wait_seconds
        tokens = torch.tensor([token for s in plan.sequences for token in s.tokens], dtype=torch.int64)
        chunks = tuple(Chunk(s.start, len(s.tokens), tuple(s.blocks)) for s in plan.sequences)
        batch = build_batch(tokens, chunks, self._block_size, self._window, plan.counts)
        computed = self._model.forward(batch)
        return RankAnswer(
            step=plan.step,
            choices=self._choices(plan, computed),
            target_logprobs=self._target_logprobs(plan, computed.hidden),
            logits=self._model.logits(computed.hidden).numpy() if plan.want_logits else None,
            compute_seconds=time.perf_counter() - started,
            exchange_seconds=self._exchange.wait_seconds - waited,
            expert_load=self._model.expert_load().numpy(),
        )

    def _choices(self, plan: RankPlan, computed: Computed) -> tuple[Choice | None, ...]:
        ends = np.cumsum([len(sequence.tokens) for sequence in plan.sequences]).tolist()
        drawn = [place for place, sequence in enumerate(plan.sequences) if sequence.sampled]
        choices: list[Choice | None] = [None] * len(plan.sequences)
        if drawn:
            rows = torch.tensor([ends[place] - 1 for place in drawn])
            logits = self._model.logits(computed.hidden[rows]).numpy()
            gates = gate_entropies(computed.gate_scores[:, rows].numpy())
            samplings = [plan.sequences[place].sampling for place in drawn]
            draws = [plan.sequences[place].draw for place in drawn]
            for place, choice in zip(drawn, choose(logits, samplings, draws, plan.top_k, gates), strict=True):
                choices[place] = choice
        return tuple(choices)

    def _target_logprobs(self, plan: RankPlan, hidden: Tensor) -> Floats:
        targets = np.array([t for s in plan.sequences for t in s.targets or [NO_TARGET] * len(s.tokens)], np.int64)
        found = np.full(len(targets), np.nan)
        wanted = np.flatnonzero(targets != NO_TARGET)
        if len(wanted):
            logprobs = torch.log_softmax(self._model.logits(hidden[torch.from_numpy(wanted)]), 1)
            column = torch.from_numpy(targets[wanted]).unsqueeze(1)
            found[wanted] = logprobs.gather(1, column).squeeze(1).double().numpy()
        return found
