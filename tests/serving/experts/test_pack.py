"""A packed checkpoint is small, whole, served like any other, and refused in one sentence when it is broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from serving.checks import verify
from serving.compiled.steps import CompiledSteps
from serving.compiled.store import Wanted
from serving.engine.engine_config import EngineConfig
from serving.engine.kv_cache import KvCache
from serving.engine.local import local_gang
from serving.engine.scheduler import Scheduler
from serving.experts.pack import main, pack
from serving.experts.placement import contiguous_placement
from serving.experts.quantise import Quantised, dequantise
from serving.model.batch import build_batch
from serving.model.checkpoint import open_checkpoint
from serving.model.config import CheckpointError
from serving.model.packed_experts import PackedExperts
from serving.model.weights import MixtureWeights, load_weights
from tests.serving.model.one_rank import chunks_of
from tests.serving.teacher import logits_of
from tests.serving.tiny_checkpoint import reference_logits, some_prompt, write_tiny_checkpoint

SHAPE = {"hidden_size": 128, "moe_intermediate_size": 64, "intermediate_size": 64}
AT = "model.layers.1.mlp.experts."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_tiny_checkpoint(tmp_path_factory.mktemp("floats") / "wide", dtype=torch.bfloat16, **SHAPE)
    (directory / "model.safetensors").chmod(0o644)
    (directory / "calibration.json").write_text("{}")
    return directory


@pytest.fixture(scope="module")
def packed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("packed") / "wide-int4"
    assert pack(source, target).ratio <= 0.27
    return target


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "copy"))


def tensors_of(directory: Path) -> dict[str, Tensor]:
    return {name: tensor for path in directory.glob("*.safetensors") for name, tensor in load_file(path).items()}


def unpacked(directory: Path, source: Path, target: Path) -> Path:
    """The same checkpoint in floats that transformers can read: what its codes stand for."""
    stored = tensors_of(directory)
    floats = {name: tensor for name, tensor in stored.items() if ".mlp.experts." not in name}
    for layer in (1, 2):
        at = f"model.layers.{layer}.mlp.experts."
        for name in ("gate_up_proj", "down_proj"):
            parts = (stored.get(at + name + ending) for ending in (".codes", ".scales", ".zeros"))
            for expert, matrix in enumerate(dequantise(Quantised(*parts))):  # type: ignore[arg-type]
                halves = ("gate_proj", "up_proj") if name == "gate_up_proj" else ("down_proj",)
                rows = matrix.chunk(len(halves))
                floats |= {
                    f"{at}{expert}.{half}.weight": part.contiguous() for half, part in zip(halves, rows, strict=True)
                }
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors*"))
    save_file(floats, target / "model.safetensors", {"format": "pt"})
    return target


def test_experts_take_a_quarter_on_disk_and_in_memory(source: Path, packed: Path) -> None:
    experts = {n: t for n, t in tensors_of(source).items() if ".mlp.experts." in n}
    whole = sum(tensor.nbytes for tensor in experts.values())
    assert {tensor.dtype for tensor in experts.values()} == {torch.bfloat16}
    stored = sum(tensor.nbytes for name, tensor in tensors_of(packed).items() if ".mlp.experts." in name)
    assert stored <= 0.27 * whole
    layers = load_weights(open_checkpoint(packed), {1: tuple(range(8)), 2: tuple(range(8))}).layers[1:]
    held = [layer.mlp.experts for layer in layers if isinstance(layer.mlp, MixtureWeights)]
    assert sum(one.gate_up.bytes + one.down.bytes for one in held if isinstance(one, PackedExperts)) == stored


def test_everything_else_is_as_it_was_and_its_confidence_is_not_taken_over(source: Path, packed: Path) -> None:
    before = {n: t for n, t in tensors_of(source).items() if ".mlp.experts." not in n}
    after = {n: t for n, t in tensors_of(packed).items() if ".mlp.experts." not in n}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    assert (packed / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert not (packed / "calibration.json").exists()
    written, was = (json.loads((d / "config.json").read_text()) for d in (packed, source))
    assert written.pop("quantization_config")["quant_method"] == "countersign-int4"
    assert written == was
    assert open_checkpoint(packed).digest != open_checkpoint(source).digest
    modes = {path.stat().st_mode for directory in (packed, source) for path in directory.glob("*.safetensors")}
    assert len(modes) == 1


def test_packing_twice_gives_the_same_bytes(source: Path, packed: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "again")
    assert open_checkpoint(tmp_path / "again").digest == open_checkpoint(packed).digest


def test_stacked_experts_are_packed_like_separate_ones(source: Path, packed: Path, tmp_path: Path) -> None:
    stacked = Path(shutil.copytree(source, tmp_path / "stacked"))
    tensors = load_file(stacked / "model.safetensors")
    for layer in (1, 2):
        at = f"model.layers.{layer}.mlp.experts."
        gate, up, down = (
            torch.stack([tensors.pop(f"{at}{expert}.{part}_proj.weight") for expert in range(8)])
            for part in ("gate", "up", "down")
        )
        tensors[at + "gate_up_proj"], tensors[at + "down_proj"] = torch.cat((gate, up), 1), down
    save_file(tensors, stacked / "model.safetensors")
    pack(stacked, tmp_path / "out")
    found, expected = tensors_of(tmp_path / "out"), tensors_of(packed)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("family", "ranks", "by_kernels"),
    [("afmoe", 1, False), ("afmoe", 2, True), ("qwen3_moe", 2, False), ("deepseek_v3", 2, False)],
    ids=str,
)
def test_real_ranks_give_the_logits_that_the_codes_stand_for(
    tmp_path: Path, family: str, ranks: int, by_kernels: bool, kernels: Path
) -> None:
    floats, packed = tmp_path / "floats", tmp_path / "packed"
    write_tiny_checkpoint(floats, dtype=torch.bfloat16, family=family, shard="200KB", **SHAPE)
    assert len(list(floats.glob("*.safetensors"))) > 1
    pack(floats, packed)
    text = some_prompt(60, seed=3)
    expected = reference_logits(unpacked(packed, floats, tmp_path / "unpacked"), text).numpy()
    config = EngineConfig(ranks=ranks, block_size=4, kv_tokens=512, step_tokens=64, most_running=8)
    if by_kernels:  # which are built there already
        config = replace(config, compiled=str(kernels))
    with local_gang(open_checkpoint(packed), config) as gang:
        scheduler = Scheduler(ranks, 512 // 4, 4, 64, 4)
        found = logits_of(gang, scheduler, [text], [40], 4)[0]
        held = [report.expert_ids[1] for report in gang.reports]
        assert sorted(expert for ids in held for expert in ids) == list(range(8))
        assert sum(report.expert for report in gang.reports) == 2 * 8 * 3 * 128 * 64
    # Without kernels experts multiply in bf16, all else in fp32; where two experts score alike, a token may be routed
    # otherwise.
    close = np.abs(found - expected).max(1) < (1e-4 if by_kernels else 0.02) * np.abs(expected).max()
    assert close.mean() > 0.9


def test_only_the_experts_asked_for_are_read(copy: Path) -> None:
    checkpoint = open_checkpoint(copy)
    whole = load_weights(checkpoint, contiguous_placement(checkpoint.config, 1).held_by(0))
    part = load_weights(checkpoint, {1: (3, 6), 2: (5,)})
    assert whole.expert_parameters == 16 * 3 * 128 * 64
    assert part.expert_parameters == 3 * 3 * 128 * 64
    assert whole.total_parameters - whole.expert_parameters == part.total_parameters - part.expert_parameters


def test_steps_with_packed_experts_are_left_uncompiled(packed: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(packed)
    config = checkpoint.config
    weights = load_weights(checkpoint, contiguous_placement(config, 1).held_by(0))
    cache = KvCache(config.layers, 8, 4, config.attention.cache_width)
    steps = CompiledSteps(tmp_path, checkpoint, weights, cache, Wanted(1, len(cache.rows(0)), 4, (1,)))
    batch = build_batch(torch.tensor([7]), chunks_of((0, 1, (0,))), 4, config.window, (1,))
    assert steps.of(batch, (torch.zeros(1, 1, 8), torch.zeros(1, 1, 8))) is None


def change_scheme(**fields: object) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        path = directory / "config.json"
        data = json.loads(path.read_text())
        data["quantization_config"] |= fields
        path.write_text(json.dumps(data))

    return change


def change_tensor(name: str, change: Callable[[Tensor], Tensor | None]) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        path = directory / "experts-00001.safetensors"
        tensors = load_file(path)
        changed = change(tensors.pop(AT + name))
        save_file(tensors | ({} if changed is None else {AT + name: changed}), path)

    return write


def truncate(directory: Path) -> None:
    path = directory / "experts-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


BROKEN: dict[str, Callable[[Path], None]] = {
    r"quantization_config\.quant_method to a value that is not served": change_scheme(quant_method="awq"),
    r"sets quantization_config\.quant_method": change_scheme(quant_method=None),
    r"bits must be 4, not 3": change_scheme(bits=3),
    r"down_proj needs a group_size": change_scheme(down_proj={"group_size": 48, "zeros": False}),
    r"group_size must be a positive integer, not None": change_scheme(gate_up_proj=None),
    r"gate_up_proj needs a group_size .* and zeros": change_scheme(gate_up_proj={"group_size": 128}),
    r"zeros must be true or false": change_scheme(gate_up_proj={"group_size": 128, "zeros": 1}),
    r"gate_up_proj\.scales has shape": change_scheme(gate_up_proj={"group_size": 64, "zeros": True}),
    r"lacks the tensor .*down_proj\.zeros": change_scheme(down_proj={"group_size": 64, "zeros": True}),
    r"broken safetensors": truncate,
    r"lacks the tensor .*gate_up_proj\.zeros": change_tensor("gate_up_proj.zeros", lambda tensor: None),
    r"down_proj\.codes has shape": change_tensor("down_proj.codes", lambda tensor: tensor[:, :-1].contiguous()),
    r"down_proj\.scales has type F32, not BF16": change_tensor("down_proj.scales", lambda tensor: tensor.float()),
}


@pytest.mark.parametrize(("sentence", "breaking"), BROKEN.items(), ids=list(BROKEN))
def test_what_is_broken_or_foreign_is_named(copy: Path, sentence: str, breaking: Callable[[Path], None]) -> None:
    breaking(copy)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        load_weights(open_checkpoint(copy), {1: (0,), 2: (0,)})
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_serving_checks_packed_tensors_before_it_starts(copy: Path) -> None:
    from serving.checks import CannotStart
    from serving.settings import ServingSettings

    settings = ServingSettings(checkpoint=copy)
    assert verify(settings).config.packing is not None
    change_tensor("down_proj.codes", lambda tensor: None)(copy)
    with pytest.raises(CannotStart, match=r"lacks the tensor .*down_proj\.codes"):
        verify(settings)


def test_what_cannot_be_packed_is_refused_and_leaves_nothing(
    source: Path, packed: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="packed already"):
        pack(packed, tmp_path / "out")
    with pytest.raises(CheckpointError, match="32 inputs cannot be packed"):
        pack(tiny_checkpoint, tmp_path / "out")
    with pytest.raises(FileExistsError, match="exists already"):
        pack(source, tmp_path)
    broken = Path(shutil.copytree(source, tmp_path / "broken"))
    tensors = load_file(broken / "model.safetensors")
    tensors["model.layers.2.mlp.experts.5.up_proj.weight"][3, 4] = float("nan")
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.2\.mlp\.experts\.gate_up_proj of expert 5 .* not finite"):
        pack(broken, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_the_command_says_what_was_saved_or_why_not(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["pack", str(source), str(tmp_path / "out")])
    main()
    assert "26.6% of the 0.79 MB in bf16" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="exists already"):
        main()
