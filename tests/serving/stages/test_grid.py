"""Grids of real rank processes say what transformers says, several steps in flight, and outlive lost ranks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.engine.engine_config import EngineConfig
from serving.engine.errors import RankLost
from serving.engine.plan import RankPlan, SequenceStep
from serving.model.batch import build_batch
from serving.model.checkpoint import open_checkpoint
from serving.model.layout import needed_tensors
from serving.planning.shape import shape_of
from tests.serving.model.one_rank import BLOCK as ALONE_BLOCK
from tests.serving.model.one_rank import chunks_of, open_model
from tests.serving.stages.grids import (
    BLOCK,
    CHOSEN,
    EXPERTS,
    LAYERS,
    SIZES,
    WAIT,
    Grid,
    answers,
    ask,
    endless,
    started,
    write_deep_checkpoint,
)
from tests.serving.teacher import logits_of
from tests.serving.tiny_checkpoint import reference_logits, some_prompt

TEXTS = [some_prompt(length, seed=length) for length in (9, 70, 31)]
GRIDS = [(2, 1, "gloo", 3.0), (2, 2, "shm", 300.0)]  # stages, ranks of each, seconds of an exchange
NAME = "{0[0]}x{0[1]}-{0[2]}".format


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deep_checkpoint(tmp_path_factory.mktemp("checkpoints") / "deep")


@pytest.fixture(scope="module")
def expected(directory: Path) -> list[np.ndarray]:
    return [reference_logits(directory, text).numpy() for text in TEXTS]


@pytest.fixture(scope="module", params=GRIDS, ids=NAME)
def grid(request: pytest.FixtureRequest, directory: Path) -> Iterator[Grid]:
    stages, ranks, exchange, seconds = request.param
    config = EngineConfig(ranks=ranks, stages=stages, exchange=exchange, exchange_seconds=seconds, **SIZES)
    with started(directory, config) as grid:
        yield grid


@pytest.mark.parametrize("depth", [1, 2], ids=["one at a time", "two in flight"])
def test_logits_are_those_of_transformers(grid: Grid, expected: list[np.ndarray], depth: int) -> None:
    with grid.gang() as gang:
        alone = logits_of(gang, grid.scheduler(32, depth), TEXTS[2:], [20], BLOCK, depth)
        batched = logits_of(gang, grid.scheduler(11, depth), TEXTS, [5, 40, 23], BLOCK, depth)
    for found, wanted in zip(alone + batched, expected[2:] + expected, strict=True):
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-4


def test_an_answer_and_its_figures_are_those_of_a_network_in_one_piece(grid: Grid) -> None:
    with grid.engine() as engine:
        generated, *_ = [
            each.result(WAIT) for each in [engine.submit(ask(str(n), max_tokens=14 + n)) for n in range(5)]
        ]
    prompt = [257, 260, *b"What is 2+2?", 261]
    ids = [token.token_id for token in generated.tokens]
    logits = reference_logits(grid.directory, prompt + ids).double()
    logprobs, entropies = logits.log_softmax(1), gate_entropies_of(grid.directory, prompt + ids)
    for place, token in enumerate(generated.tokens, len(prompt) - 1):
        best, second = logits[place].topk(2).values.tolist()
        assert best - second < 1e-3 or token.token_id == int(logits[place].argmax())
        assert token.logprob == pytest.approx(float(logprobs[place, token.token_id]), abs=1e-4)
        assert token.gate_entropy == pytest.approx(float(entropies[place]), abs=1e-5)
    content = [float(logprobs[place, token]) for place, token in enumerate(prompt[2:-1], 1)]
    assert generated.prompt.mean_logprob == pytest.approx(sum(content) / len(content), abs=1e-4)


def gate_entropies_of(directory: Path, ids: list[int]) -> np.ndarray:
    """[tokens], the mean over all layers with experts, of one rank that has them all."""
    model, window = open_model(directory)
    blocks = tuple(range(-(-len(ids) // ALONE_BLOCK)))
    batch = build_batch(torch.tensor(ids), chunks_of((0, len(ids), blocks)), ALONE_BLOCK, window, (len(ids),))
    with torch.inference_mode():
        found = model.forward(batch).gate_entropy
    entropies: np.ndarray = found.numpy() / len(open_checkpoint(directory).config.expert_layers)
    return entropies


def test_a_step_in_flight_may_be_collected_later(grid: Grid) -> None:
    step = SequenceStep(tokens=[257, 260, 65, 261], start=0, blocks=[0], sampled=True)
    plans = [RankPlan(0, (4,) * grid.config.ranks, (step,))] * grid.config.ranks
    wake = os.eventfd(1)
    with grid.gang() as gang:
        os.kill(grid.pids[-1], signal.SIGSTOP)
        gang.submit(plans)
        assert gang.collect(wake) is None
        os.kill(grid.pids[-1], signal.SIGCONT)
        answers = gang.collect()
    os.close(wake)
    assert answers is not None
    assert [len(answer.drawn) for answer in answers] == [0] * grid.config.ranks + [1] * grid.config.ranks


def test_a_rank_holds_the_tensors_of_its_own_stage_and_of_no_other(grid: Grid) -> None:
    sizes = {name: prod(shape) for name, shape in needed_tensors(grid.checkpoint.config, ()).items()}
    with grid.gang() as gang:
        reports = gang.reports
    assert [report.layers for report in reports] == [(0, 1)] * grid.config.ranks + [(2, 3, 4)] * grid.config.ranks
    for report in reports:
        ends = ["model.embed_tokens.weight"] + (["model.norm.weight"] if report.stage else [])
        own = [name for name in sizes for layer in report.layers if name.startswith(f"model.layers.{layer}.")]
        routed = sum(sizes[name] for name in own if ".experts." in name)
        assert report.expert == routed // grid.config.ranks
        assert report.total == sum(sizes[name] for name in ends + own) - routed + report.expert
        assert sorted(report.expert_ids) == [layer for layer in report.layers if layer]
    assert shape_of(grid.checkpoint.config).total == sum(sizes.values())  # as GET /model tells
    for layer in range(1, LAYERS):
        held = [expert for report in reports for expert in report.expert_ids.get(layer, ())]
        assert sorted(held) == list(range(EXPERTS))


def test_every_stage_counts_the_rows_of_its_own_experts(grid: Grid) -> None:
    with grid.engine() as engine:
        found = [engine.submit(ask(str(n), "x" * 10 * n, max_tokens=5)).result(WAIT) for n in range(1, 4)]
        stats = engine.stats()
    rows = sum(g.usage.prompt_tokens - g.reused_tokens + g.usage.completion_tokens - 1 for g in found)
    assert [sum(load) for load in stats.expert_load] == [rows * CHOSEN] * (LAYERS - 1)
    of_stage = [sum(rank.expert_rows for rank in stats.ranks if rank.stage == stage) for stage in (0, 1)]
    assert of_stage == [rows * CHOSEN, 3 * rows * CHOSEN]
    assert stats.running == 0
    assert stats.free_blocks == (grid.config.kv_blocks,) * grid.config.places


def test_a_lost_rank_of_any_stage_is_replaced_and_the_others_stay(grid: Grid) -> None:
    with grid.engine() as engine:
        undisturbed = answers(engine)
    for lost in {0} if grid.config.ranks == 1 else {1, 2}:  # of two ranks a stage one of each
        before = grid.pids
        with grid.engine() as engine:
            flights = [engine.submit(endless(str(number))) for number in range(3 * grid.config.ranks)]
            engine.submit(ask("short", max_tokens=1)).result(WAIT)  # by then the others run
            os.kill(before[lost], signal.SIGKILL)
            for flight in flights:
                with pytest.raises(RankLost):
                    flight.result(WAIT)  # where the exchange's limit is 300 s, far sooner than that
        with grid.engine() as engine:
            assert answers(engine) == undisturbed
        assert [pid for pid in grid.pids if pid in before] == [pid for pid in before if pid != before[lost]]


@pytest.mark.parametrize("grid", GRIDS[:1], ids=NAME, indirect=True)  # the other's ranks wait longer
def test_a_rank_that_stands_still_is_named_by_the_stage_behind_it(grid: Grid) -> None:
    with grid.engine() as engine:
        stopped = grid.pids[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            with pytest.raises(RankLost, match="rank 1 reports: rank 0 did not arrive") as caught:
                engine.submit(endless("stalled")).result(WAIT)
        finally:
            os.kill(stopped, signal.SIGCONT)
    assert caught.value.rank == 0
