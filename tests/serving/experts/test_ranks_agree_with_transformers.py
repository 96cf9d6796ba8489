"""Real rank processes give transformers' logits, each holding only its own experts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from serving.engine.engine_config import EngineConfig
from serving.engine.gang import Gang
from serving.engine.local import local_gang
from serving.engine.scheduler import Scheduler
from serving.model.checkpoint import open_checkpoint
from tests.serving.teacher import logits_of
from tests.serving.tiny_checkpoint import reference_logits, some_prompt, write_tiny_checkpoint

BLOCK = 4
SIZES = {"block_size": BLOCK, "kv_tokens": 512, "step_tokens": 64, "most_running": 8}
TOLERANCE = 1e-4
# Different lengths, so that some ranks prefill while others decode and some have nothing of their own to do.
TEXTS = [some_prompt(length, seed=length) for length in (9, 70, 31)]


GANGS = [
    ("afmoe", 1, "shm"),
    ("afmoe", 2, "shm"),
    ("afmoe", 4, "shm"),
    ("afmoe", 2, "gloo"),
    ("qwen3_moe", 1, "shm"),
    ("qwen3_moe", 2, "shm"),
    ("deepseek_v3", 1, "shm"),
    ("deepseek_v3", 2, "shm"),
]


class Served(NamedTuple):
    gang: Gang
    expected: list[np.ndarray]  # [tokens, vocab] for each text


@pytest.fixture(scope="module", params=GANGS, ids=lambda p: f"{p[0]}-{p[1]}-{p[2]}")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    family, ranks, exchange = request.param
    directory = write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny", family=family)
    expected = [reference_logits(directory, text).numpy() for text in TEXTS]
    config = EngineConfig(ranks=ranks, exchange=exchange, **SIZES)
    with local_gang(open_checkpoint(directory), config) as gang:
        yield Served(gang, expected)


def scheduler_of(gang: Gang, step_tokens: int) -> Scheduler:
    return Scheduler(len(gang.reports), 512 // BLOCK, BLOCK, step_tokens, 4)


def assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for got, wanted in zip(found, expected, strict=True):
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() < TOLERANCE


def test_logits_of_one_prompt_in_one_pass(served: Served) -> None:
    text = TEXTS[2]
    assert_close(
        logits_of(served.gang, scheduler_of(served.gang, 64), [text], [len(text)], BLOCK), [served.expected[2]]
    )


def test_logits_of_a_batch_of_different_lengths_token_by_token(served: Served) -> None:
    assert_close(logits_of(served.gang, scheduler_of(served.gang, 64), TEXTS, [4, 40, 20], BLOCK), served.expected)


def test_logits_of_prompts_in_chunks_beside_others_that_decode(served: Served) -> None:
    assert_close(logits_of(served.gang, scheduler_of(served.gang, 7), TEXTS, [5, 66, 23], BLOCK), served.expected)


def test_each_rank_holds_only_its_own_experts(served: Served) -> None:
    hidden, size, experts, expert_layers = 32, 24, 8, (1, 2)
    for layer in expert_layers:
        held = [report.expert_ids[layer] for report in served.gang.reports]
        assert sorted(expert for ids in held for expert in ids) == list(range(experts))
    for report in served.gang.reports:
        count = sum(len(ids) for ids in report.expert_ids.values())
        assert report.expert == count * 3 * hidden * size
    whole = {report.total - report.expert for report in served.gang.reports}
    assert len(whole) == 1  # what is not expert is the same on every rank
    assert sum(report.expert for report in served.gang.reports) == len(expert_layers) * experts * 3 * hidden * size
