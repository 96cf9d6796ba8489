"""Compiled decode steps give what eager ones give, in whole layers and in halves; what is missing is not waited for."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from serving.compiled.build import fill, fill_whole, sweep
from serving.compiled.steps import CompiledSteps
from serving.compiled.store import BUCKETS, Store, Wanted, bucket_of, buckets_up_to, store_of
from serving.compiled.whole_step import is_whole
from serving.engine.kv_cache import KvCache
from serving.experts.exchange import AloneExchange
from serving.experts.pack import pack
from serving.model.batch import Batch, build_batch
from serving.model.checkpoint import Checkpoint, open_checkpoint
from serving.model.likelihoods import Likelihoods
from serving.model.transformer import Computed, Transformer
from serving.model.weights import load_weights
from serving.stages.stage import PipelineStage, stages_of
from tests.serving.model.one_rank import chunks_of
from tests.serving.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("kernels")
BLOCK, BLOCKS, ROWS = 4, 40, 4
SLOTS = (BLOCKS + 1) * BLOCK
ONE_KIND = {"num_hidden_layers": 2, "num_dense_layers": 0, "layer_types": ["sliding_attention"] * 2}
CASES = [("afmoe", 1, ONE_KIND), ("afmoe", 2, ONE_KIND)]
PACKABLE = {"hidden_size": 64, "moe_intermediate_size": 64, "head_dim": 16}  # heads as wide as vectors, too
WHOLE = [
    ("afmoe", ONE_KIND, False),
    ("deepseek_v3", {"first_k_dense_replace": 0, "num_hidden_layers": 2}, False),
    ("afmoe", ONE_KIND | PACKABLE, True),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all cases: what one of them compiles is not compiled again."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest, folder: Path) -> tuple[Checkpoint, int, Path]:
    family, ranks, changes = request.param
    directory = folder / family
    if not directory.exists():
        write_tiny_checkpoint(directory, family=family, **changes)
    return open_checkpoint(directory), ranks, folder / "home"


class Network:
    """One that holds all experts, with or without compiled steps."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        ranks: int,
        home: Path | None,
        stage: PipelineStage | None = None,
        whole: bool = False,
    ) -> None:
        held = {layer: tuple(range(checkpoint.config.experts)) for layer in checkpoint.config.expert_layers}
        weights = load_weights(checkpoint, held, stage.layers if stage else None)
        if stage is not None:
            checkpoint = replace(checkpoint, config=stage.part_of(checkpoint.config))
        config = checkpoint.config
        cache = KvCache(config.layers, BLOCKS, BLOCK, config.attention.cache_width)
        wanted = Wanted(ranks, SLOTS, BLOCK, [ROWS], whole)
        self.steps = CompiledSteps(home, checkpoint, weights, cache, wanted) if home else None
        self._window = config.window
        self._network = Transformer(config, weights, cache, AloneExchange(), self.steps)

    def run(self, *parts: tuple[list[int], int, int], received: torch.Tensor | None = None) -> tuple[Computed, Batch]:
        """Each part: tokens, where they begin, and the first of its sequence's blocks."""
        chunks = chunks_of(*((start, len(tokens), range(first, first + 8)) for tokens, start, first in parts))
        ids = torch.tensor([token for tokens, _, _ in parts for token in tokens])
        batch = build_batch(ids, chunks, BLOCK, self._window, (len(ids),))
        with torch.inference_mode():
            return self._network.forward(batch, received), batch

    def expert_load(self) -> npt.NDArray[np.int64]:
        return self._network.expert_load()

    def measure(self, computed: Computed, rows: torch.Tensor) -> Likelihoods:
        with torch.inference_mode():
            return self._network.measure(computed, rows, 5)


@pytest.fixture(scope="module")
def filled(case: tuple[Checkpoint, int, Path]) -> tuple[Checkpoint, int, Path]:
    checkpoint, ranks, home = case
    store = store_of(home, checkpoint, slots=SLOTS, block_size=BLOCK)
    store.folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        fill(store, checkpoint, Wanted(ranks, SLOTS, BLOCK, [ROWS]))
    return case


def test_decode_steps_are_those_of_the_eager_network(filled: tuple[Checkpoint, int, Path]) -> None:
    checkpoint, ranks, home = filled
    eager, fast = Network(checkpoint, ranks, None), Network(checkpoint, ranks, home)
    assert fast.steps is not None
    texts, lengths = ([7, 99, 30, 12, 4], [60, 61], [5, 6, 7, 8, 9, 10, 11, 12, 13]), [5, 2, 9]
    for network in (eager, fast):
        for place, text in enumerate(texts):
            network.run((text, 0, 8 * place))
    for turn in range(12):
        parts = [([40 + turn + place], lengths[place] + turn, 8 * place) for place in range(3)]
        expected, batch = eager.run(*parts)
        found, _ = fast.run(*parts)
        turns = (torch.zeros(3, 1, 8), torch.zeros(3, 1, 8))
        assert fast.steps.of(batch, turns) is not None
        torch.testing.assert_close(found.hidden, expected.hidden, atol=5e-5, rtol=1e-4)
        torch.testing.assert_close(found.gate_entropy, expected.gate_entropy, atol=1e-5, rtol=1e-4)
        assert found.step is not None
        all_rows = torch.arange(3)
        measured, wanted = fast.measure(found, all_rows), eager.measure(expected, all_rows)
        assert_as_good(measured, wanted)
        for one, other in zip(measured.tensors[:2], wanted.tensors[:2], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(measured.top_logprobs[:, :5], wanted.top_logprobs, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(fast.measure(found, all_rows[1:]).entropies, measured.entropies[1:])


@pytest.mark.parametrize(("family", "changes", "packed"), WHOLE)
def test_a_whole_step_is_that_of_the_eager_network(
    folder: Path, family: str, changes: dict[str, Any], packed: bool
) -> None:
    directory = folder / (f"{family}-packed" if packed else family)
    if packed:
        pack(write_tiny_checkpoint(folder / "to pack", family=family, **changes), directory)
    elif not directory.exists():
        write_tiny_checkpoint(directory, family=family, **changes)
    checkpoint, home, ranks = open_checkpoint(directory), folder / "home", 1
    assert is_whole(checkpoint.config, ranks, 1)
    store = store_of(home, checkpoint, slots=SLOTS, block_size=BLOCK)
    store.folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        fill_whole(store, checkpoint, Wanted(ranks, SLOTS, BLOCK, [ROWS], whole=True))
    assert calls(store.step(ROWS), "routed_experts_int4" if packed else "routed_experts")
    assert calls(store.step(ROWS), "few_rows")
    assert calls(store.step(ROWS), "attend_once") == packed  # the others have narrower heads
    eager, fast = Network(checkpoint, ranks, None), Network(checkpoint, ranks, home, whole=True)
    assert fast.steps is not None
    for network in (eager, fast):
        for place, text in enumerate(([7, 99, 30, 12, 4], [60, 61], [5, 6, 7, 8, 9, 10, 11, 12, 13])):
            network.run((text, 0, 8 * place))
    for turn in range(6):  # past the end of a block
        parts = [([40 + turn + place], length + turn, 8 * place) for place, length in enumerate((5, 2, 9))]
        expected, batch = eager.run(*parts)
        found, _ = fast.run(*parts)
        assert found.likelihoods is not None
        torch.testing.assert_close(found.hidden, expected.hidden, atol=5e-5, rtol=1e-4)
        torch.testing.assert_close(found.gate_entropy, expected.gate_entropy, atol=1e-5, rtol=1e-4)
        rows = torch.arange(len(parts))
        measured, wanted = fast.measure(found, rows), eager.measure(expected, rows)
        torch.testing.assert_close(measured.logprobs, wanted.logprobs, atol=1e-5, rtol=1e-4)
        assert_as_good(measured, wanted)
        np.testing.assert_array_equal(fast.expert_load(), eager.expert_load())
        assert fast.steps.of(batch, (torch.zeros(3, 1, 8),) * 2) is None  # it does not run by layers as well


def assert_as_good(measured: Likelihoods, wanted: Likelihoods) -> None:
    """The likeliest tokens are; the tiny head has equal rows, and which of those is best is a matter of rounding."""
    found = wanted.logprobs.gather(1, measured.best.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(found, wanted.best_logprobs, atol=1e-5, rtol=1e-5)


def calls(package: Path, operator: str) -> bool:
    """Straight, without torch's dispatcher."""
    with zipfile.ZipFile(package) as files:
        wanted = f"aoti_torch_cpu_{operator}\0".encode()
        return any(wanted in files.read(name) for name in files.namelist() if name.endswith(".so"))


def test_a_stage_runs_its_own_layers_compiled(filled: tuple[Checkpoint, int, Path]) -> None:
    checkpoint, ranks, home = filled
    text, first, last = [7, 99, 30, 12, 4], *stages_of(checkpoint.config, 2)
    whole = Network(checkpoint, ranks, None)
    parts = [Network(checkpoint, ranks, home, stage) for stage in (first, last)]
    for tokens, start in ((text, 0), ([40], 5)):
        given = [(tokens, start, 8 * place) for place in range(3)]
        expected, _ = whole.run(*given)
        handed, batch = parts[0].run(*given)
        found, _ = parts[1].run(*given, received=handed.hidden)
    turns = (torch.zeros(3, 1, 8), torch.zeros(3, 1, 8))
    assert all(part.steps is not None and part.steps.of(batch, turns) is not None for part in parts)
    torch.testing.assert_close(found.hidden, expected.hidden, atol=1e-5, rtol=1e-4)
    entropies = handed.gate_entropy + found.gate_entropy
    torch.testing.assert_close(entropies, expected.gate_entropy, atol=1e-5, rtol=1e-4)


def test_steps_with_chunks_and_sizes_that_are_not_compiled_stay_eager(filled: tuple[Checkpoint, int, Path]) -> None:
    network = Network(filled[0], filled[1], filled[2])
    assert network.steps is not None
    turns = (torch.zeros(2, 1, 8), torch.zeros(2, 1, 8))
    _, chunk = network.run(([1, 2], 0, 0))
    assert network.steps.of(chunk, turns) is None
    _, two = network.run(([1], 0, 0), ([1], 0, 8))
    assert network.steps.of(two, turns) is None  # only the bucket of four was made


def test_a_broken_file_leaves_the_steps_eager(filled: tuple[Checkpoint, int, Path], tmp_path: Path) -> None:
    checkpoint, ranks, home = filled
    made = store_of(home, checkpoint, slots=SLOTS, block_size=BLOCK)
    broken = store_of(tmp_path, checkpoint, slots=SLOTS, block_size=BLOCK)
    broken.folder.mkdir(parents=True)
    files = list(made.folder.glob("*.pt2"))
    assert files
    for file in files:
        (broken.folder / file.name).write_bytes(file.read_bytes()[:1000])
    network = Network(checkpoint, ranks, tmp_path)
    computed, _ = network.run(*(([1], 0, 8 * place) for place in range(4)))
    assert torch.isfinite(computed.hidden).all()


def test_rows_go_to_the_least_bucket_that_holds_them() -> None:
    assert [bucket_of(rows) for rows in (1, 2, 3, 5, 16, 17, 32, 33)] == [1, 2, 4, 8, 16, 32, 32, None]
    assert list(BUCKETS) == sorted(BUCKETS)
    assert [len(buckets_up_to(rows)) for rows in (1, 3, 16, 900)] == [1, 3, 5, len(BUCKETS)]


def test_another_size_of_cache_is_kept_apart(case: tuple[Checkpoint, int, Path]) -> None:
    one, other = (store_of(case[2], case[0], slots=slots, block_size=BLOCK) for slots in (64, 128))
    assert one.folder != other.folder


def test_another_config_of_the_same_weights_is_kept_apart(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_tiny_checkpoint(tmp_path / name, **ONE_KIND)
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    one, other = (open_checkpoint(tmp_path / name) for name in ("one", "other"))
    assert one.digest == other.digest
    stores = [store_of(folder, checkpoint, slots=SLOTS, block_size=BLOCK) for checkpoint in (one, other)]
    assert stores[0].folder != stores[1].folder


def test_what_a_killed_builder_left_is_removed_and_what_is_whole_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "tmpabc").mkdir()
    (tmp_path / "tmpabc" / "half.pt2").write_bytes(b"")
    store.step(4).write_bytes(b"whole")
    sweep(store)
    assert list(tmp_path.iterdir()) == [store.step(4)]
