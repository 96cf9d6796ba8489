"""Runs one plan on one rank: tokens into the network, logits out, next tokens chosen."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from serving.compiled.steps import Builder, CompiledSteps
from serving.compiled.store import Wanted, buckets_up_to
from serving.compiled.whole_step import is_whole
from serving.engine.kv_cache import KvCache
from serving.engine.plan import CHOICE, NO_TARGET, Floats, RankAnswer, RankPlan
from serving.engine.sampler import choose
from serving.experts.exchange import Exchange
from serving.experts.placement import Placement, slots_of
from serving.experts.rank_settings import RankSettings
from serving.kernels.library import build_and_load
from serving.model.batch import Chunk, build_batch
from serving.model.checkpoint import Checkpoint
from serving.model.config import ModelConfig
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
            home, wanted = Path(settings.compiled), _wanted(settings, config, len(cache.rows(0)))
            steps = CompiledSteps(home, checkpoint, self.weights, cache, wanted)
            self._builder = Builder(home, checkpoint, wanted)
        self._rank, self._model = rank, Transformer(config, self.weights, cache, exchange, steps)
        self.place(placement, {})
        self._block_size, self._window, self._exchange = settings.block_size, config.window, exchange

    def close(self) -> None:
        if self._builder:
            self._builder.close()

    def place(self, placement: Placement, incoming: Mapping[int, ExpertWeights | PackedExperts]) -> None:
        """From the next step on; `incoming`: what this rank lacks. Raises ValueError when that is not all."""
        own = replace(placement, by_layer=self._stage.numbered(placement.by_layer))
        self._model.place(own, self._rank, self._stage.numbered(incoming))

    def run(self, plan: RankPlan, started: float) -> RankAnswer:
        """`started` is when the plan arrived, by time.perf_counter(). Raises ExchangeTimeout."""
        waited = self._wait_seconds()
        tokens = torch.from_numpy(np.array([token for s in plan.sequences for token in s.tokens], np.int64))
        chunks = tuple(Chunk(s.start, len(s.tokens), tuple(s.blocks)) for s in plan.sequences)
        batch = build_batch(tokens, chunks, self._block_size, self._window, plan.counts)
        received = None if self._stage.is_first else self._links.receive(len(tokens))
        computed = self._model.forward(batch, received.hidden if received else None)
        gates = computed.gate_entropy + received.gate_entropy if received else computed.gate_entropy
        last = self._stage.is_last
        if not last:
            self._links.send(Handed(computed.hidden, gates))
        return RankAnswer(
            step=plan.step,
            drawn=self._drawn(plan, computed, gates) if last else _NOTHING_DRAWN,
            target_logprobs=self._target_logprobs(plan, computed.hidden) if last else np.zeros(0),
            logits=self._model.logits(computed.hidden).numpy() if last and plan.want_logits else None,
            compute_seconds=time.perf_counter() - started,
            exchange_seconds=self._wait_seconds() - waited,
            expert_load=self._model.expert_load().numpy(),
        )

    def _drawn(self, plan: RankPlan, computed: Computed, gate_entropy: Tensor) -> Floats:
        """A row for each sequence, as RankAnswer has it."""
        places, ends = _drawing(plan)
        if not places:
            return np.full((len(plan.sequences), CHOICE + 2 * plan.top_k), np.nan)
        every = len(places) == len(computed.hidden)  # the usual step: nothing need be picked out
        wanted = None if every else torch.from_numpy(np.array(ends) - 1)
        found = self._model.measure(computed, wanted, plan.top_k)
        gates = (gate_entropy if wanted is None else gate_entropy[wanted]).numpy() / (self._expert_layers or math.nan)
        drawing = [plan.sequences[place] for place in places]
        drawn = choose(found, gates, [s.sampling for s in drawing], [s.draw for s in drawing], plan.top_k)
        if every:
            return drawn
        rows = np.full((len(plan.sequences), drawn.shape[1]), np.nan)
        rows[places] = drawn
        return rows

    def _wait_seconds(self) -> float:
        """For other ranks, of this stage and of the ones beside it."""
        return self._exchange.wait_seconds + self._links.wait_seconds

    def _target_logprobs(self, plan: RankPlan, hidden: Tensor) -> Floats:
        found = np.full(len(hidden), np.nan)
        if all(sequence.targets is None for sequence in plan.sequences):
            return found
        targets = np.array([t for s in plan.sequences for t in s.targets or [NO_TARGET] * len(s.tokens)], np.int64)
        wanted = np.flatnonzero(targets != NO_TARGET)
        if len(wanted):
            logprobs = torch.log_softmax(self._model.logits(hidden[torch.from_numpy(wanted)]), 1)
            column = torch.from_numpy(targets[wanted]).unsqueeze(1)
            found[wanted] = logprobs.gather(1, column).squeeze(1).double().numpy()
        return found


def _wanted(settings: RankSettings, config: ModelConfig, slots: int) -> Wanted:
    rows, whole = buckets_up_to(settings.most_running), is_whole(config, settings.ranks, settings.stages)
    return Wanted(settings.ranks, slots, settings.block_size, rows, whole)


def _drawing(plan: RankPlan) -> tuple[list[int], list[int]]:
    """The places of the sequences whose next token is drawn, and where the rows of each end."""
    ends = accumulate(len(sequence.tokens) for sequence in plan.sequences)
    found = [(place, end) for place, (end, s) in enumerate(zip(ends, plan.sequences, strict=True)) if s.sampled]
    return [place for place, _ in found], [end for _, end in found]
