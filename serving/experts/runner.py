"""Runs one plan on one rank: tokens into the network, logits out, next tokens chosen."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from serving.engine.kv_cache import KvCache
from serving.engine.opened_plan import OpenedPlan
from serving.engine.plan import CHOICE, NO_TARGET, Floats, RankAnswer
from serving.engine.sampler import choose
from serving.experts.exchange import Exchange
from serving.experts.placement import Placement, slots_of
from serving.experts.rank_settings import RankSettings
from serving.kernels.library import build_and_load
from serving.model.batch import Chunks, build_batch
from serving.model.checkpoint import Checkpoint
from serving.model.packed_experts import PackedExperts
from serving.model.transformer import Computed, Transformer
from serving.model.weights import ExpertWeights, load_weights
from serving.stages.handoff import Handed
from serving.stages.stage import PipelineStage
from serving.stages.stage_links import StageLinks

_NOTHING_DRAWN = np.zeros((0, CHOICE))  # by any stage but the last


class Runner:
    def __init__(
        self,
        settings: RankSettings,
        checkpoint: Checkpoint,
        placement: Placement,
        rank: int,
        exchange: Exchange,
        stage: PipelineStage,
        links: StageLinks,
    ) -> None:
        """`rank` is the number in the stage, whose layers `placement` has among the others. Raises CheckpointError."""
        if settings.compiled and checkpoint.config.packing is not None:
            build_and_load(Path(settings.compiled))  # by then it is decided in which order codes are held
        places = slots_of(checkpoint.config.experts, settings.ranks, settings.spare_experts)
        self.weights = load_weights(checkpoint, placement.held_by(rank, stage.layers), stage.layers, places)
        self._stage, self._links, self._expert_layers = stage, links, len(checkpoint.config.expert_layers)
        checkpoint = replace(checkpoint, config=stage.part_of(checkpoint.config))
        config = checkpoint.config
        cache = KvCache(config.layers, settings.kv_blocks, settings.block_size, config.attention.cache_width)
        steps, self._builder = None, None
        if settings.compiled:
            from serving.experts.compiling import begin_compiling  # half a second, for who compiles alone

            steps, self._builder = begin_compiling(settings, checkpoint, self.weights, cache)
        self._rank, self._model = rank, Transformer(config, self.weights, cache, exchange, steps)
        self.place(placement, {})
        self._block_size, self._window, self._exchange = settings.block_size, config.window, exchange
        self._drawn_before = _NOTHING_DRAWN

    def close(self) -> None:
        if self._builder:
            self._builder.close()

    def place(self, placement: Placement, incoming: Mapping[int, ExpertWeights | PackedExperts]) -> None:
        """From the next step on; `incoming`: what this rank lacks. Raises ValueError when that is not all."""
        own = replace(placement, by_layer=self._stage.numbered(placement.by_layer))
        self._model.place(own, self._rank, self._stage.numbered(incoming))

    def run(self, plan: OpenedPlan, started: float) -> RankAnswer:
        """`started` is when the plan arrived, by time.perf_counter(). Raises ExchangeTimeout."""
        waited = self._wait_seconds()
        tokens = torch.from_numpy(plan.known_tokens(self._drawn_before))
        chunks = Chunks(plan.starts, plan.lengths, plan.tables)
        batch = build_batch(tokens, chunks, self._block_size, self._window, plan.counts)
        received = None if self._stage.is_first else self._links.receive(len(tokens))
        computed = self._model.forward(batch, received.hidden if received else None)
        gates = computed.gate_entropy + received.gate_entropy if received else computed.gate_entropy
        last = self._stage.is_last
        if not last:
            self._links.send(Handed(computed.hidden, gates))
        self._drawn_before = self._drawn(plan, computed, gates) if last else _NOTHING_DRAWN
        return RankAnswer(
            step=plan.step,
            drawn=self._drawn_before,
            target_logprobs=self._target_logprobs(plan, computed.hidden) if last else np.zeros(0),
            logits=self._model.logits(computed.hidden).numpy() if last and plan.want_logits else None,
            compute_seconds=time.perf_counter() - started,
            exchange_seconds=self._wait_seconds() - waited,
            expert_load=self._model.expert_load(),
        )

    def _drawn(self, plan: OpenedPlan, computed: Computed, gate_entropy: Tensor) -> Floats:
        """A row for each sequence, as RankAnswer has it."""
        sequences = np.flatnonzero(plan.sampled)
        if not len(sequences):
            return np.full((len(plan.sampled), CHOICE + 2 * plan.top_k), np.nan)
        every = len(sequences) == len(computed.hidden)  # the usual step: nothing need be picked out
        wanted = None if every else torch.from_numpy(plan.lengths.cumsum()[sequences] - 1)
        found = self._model.measure(computed, wanted, plan.top_k)
        gates = (gate_entropy if wanted is None else gate_entropy[wanted]).numpy() / (self._expert_layers or math.nan)
        drawn = choose(found, gates, plan.draws if every else plan.draws.of(sequences), plan.top_k)
        if every:
            return drawn
        rows = np.full((len(plan.sampled), drawn.shape[1]), np.nan)
        rows[sequences] = drawn
        return rows

    def _wait_seconds(self) -> float:
        """For other ranks, of this stage and of the ones beside it."""
        return self._exchange.wait_seconds + self._links.wait_seconds

    def _target_logprobs(self, plan: OpenedPlan, hidden: Tensor) -> Floats:
        found = np.full(len(hidden), np.nan)
        wanted = np.flatnonzero(plan.targets != NO_TARGET)
        if len(wanted):
            logprobs = torch.log_softmax(self._model.logits(hidden[torch.from_numpy(wanted)]), 1)
            column = torch.from_numpy(plan.targets[wanted]).unsqueeze(1)
            found[wanted] = logprobs.gather(1, column).squeeze(1).double().numpy()
        return found
