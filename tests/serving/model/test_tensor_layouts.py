"""Every family's checkpoints are read in each layout they are published in, and only as far as a rank needs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from serving.experts.placement import contiguous_placement
from serving.model.checkpoint import open_checkpoint
from serving.model.config import CheckpointError
from serving.model.layout import needed_tensors
from serving.model.tensor_files import check_tensors
from serving.model.weights import MixtureWeights, Weights, load_weights
from tests.serving.model.one_rank import TEXT, logits_in_chunks
from tests.serving.tiny_checkpoint import FAMILIES, reference_logits, write_tiny_checkpoint

FILE = "model.safetensors"
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
FP8_BLOCK = 16  # rows and columns; no size of the tiny checkpoints is a multiple of it throughout

Tensors = dict[str, Tensor]


def check(directory: Path) -> None:
    checkpoint = open_checkpoint(directory)
    check_tensors(checkpoint.weight_files, checkpoint.config)


def load(directory: Path, ranks: int = 1, rank: int = 0) -> Weights:
    checkpoint = open_checkpoint(directory)
    return load_weights(checkpoint, contiguous_placement(checkpoint.config, ranks).held_by(rank))


def rewrite(directory: Path, change: Callable[[Tensors], Tensors]) -> None:
    save_file(change(load_file(directory / FILE)), directory / FILE, metadata={"format": "pt"})


@EVERY_FAMILY
def test_what_is_checked_is_all_that_transformers_wrote(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family)
    written = {name: tuple(tensor.shape) for name, tensor in load_file(directory / FILE).items()}
    assert needed_tensors(open_checkpoint(directory).config, written) == written


@EVERY_FAMILY
def test_a_missing_tensor_is_named_before_anything_is_loaded(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family)
    whole = load_file(directory / FILE)
    for missing in whole:
        save_file({name: tensor for name, tensor in whole.items() if name != missing}, directory / FILE)
        with pytest.raises(CheckpointError) as caught:
            check(directory)
        assert f"lacks the tensor {missing}:" in str(caught.value)


@EVERY_FAMILY
def test_several_files_are_one_checkpoint(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family, shard="40KB")
    files = sorted(directory.glob("*.safetensors"))
    assert len(files) > 3
    check(directory)
    assert (logits_in_chunks(directory, [60]) - reference_logits(directory, TEXT)).abs().max() < 1e-4
    (directory / "consolidated.safetensors").write_bytes(b"what the index does not name is not opened")
    check(directory)
    files[1].unlink()
    with pytest.raises(CheckpointError, match=f"lacks {files[1].name}, which its index names"):
        open_checkpoint(directory)


@EVERY_FAMILY
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family, shard="40KB")
    last = max(directory.glob("*.safetensors"))
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="broken safetensors file"):
        check(directory)


def stacked(tensors: Tensors) -> Tensors:
    """As transformers holds experts in memory."""
    for layer in (1, 2):
        at = f"model.layers.{layer}.mlp.experts."
        gate, up, down = (
            [tensors.pop(f"{at}{expert}.{part}_proj.weight") for expert in range(8)] for part in ("gate", "up", "down")
        )
        tensors[at + "gate_up_proj"] = torch.stack([torch.cat(pair) for pair in zip(gate, up, strict=True)])
        tensors[at + "down_proj"] = torch.stack(down)
    return tensors


@EVERY_FAMILY
def test_stacked_experts_are_read(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family)
    expected = logits_in_chunks(directory, [60])
    rewrite(directory, stacked)
    check(directory)
    torch.testing.assert_close(logits_in_chunks(directory, [60]), expected)


@EVERY_FAMILY
def test_a_rank_reads_no_other_ranks_experts(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family)
    whole = load(directory)
    others = tuple(f".experts.{expert}." for expert in range(4))
    rewrite(directory, lambda tensors: {n: t for n, t in tensors.items() if not any(other in n for other in others)})
    half = load(directory, ranks=2, rank=1)  # the other rank's experts are not even in the file
    for layer in (1, 2):
        found, wanted = half.layers[layer].mlp, whole.layers[layer].mlp
        assert isinstance(found, MixtureWeights)
        assert isinstance(wanted, MixtureWeights)
        assert found.experts.ids == (4, 5, 6, 7)
        torch.testing.assert_close(found.experts.gate_up, wanted.experts.gate_up[4:])
        torch.testing.assert_close(found.experts.down, wanted.experts.down[4:])
    assert half.total_parameters - half.expert_parameters == whole.total_parameters - whole.expert_parameters


def fp8(tensors: Tensors) -> Tensors:
    """Every projection in 8-bit floats with a scale for each block, as DeepSeek publishes them."""
    for name in [name for name in tensors if name.endswith("_proj.weight") or "kv_a_proj" in name]:
        tensor = tensors[name]
        scales = torch.empty(tuple(-(-size // FP8_BLOCK) for size in tensor.shape))
        for row in range(scales.shape[0]):
            for column in range(scales.shape[1]):
                block = tensor[blocks_at(row), blocks_at(column)]
                scales[row, column] = block.abs().max() / torch.finfo(torch.float8_e4m3fn).max
                block /= scales[row, column]
        tensors[name], tensors[f"{name}_scale_inv"] = tensor.to(torch.float8_e4m3fn), scales
    return tensors


def rounded(tensors: Tensors) -> Tensors:
    """What those 8-bit floats stand for, in fp32."""
    tensors = fp8(tensors)
    for name in [name for name in tensors if name.endswith("_scale_inv")]:
        scales, weight = tensors.pop(name), name.removesuffix("_scale_inv")
        tensors[weight] = tensors[weight].float()
        for row in range(scales.shape[0]):
            for column in range(scales.shape[1]):
                tensors[weight][blocks_at(row), blocks_at(column)] *= scales[row, column]
    return tensors


def blocks_at(number: int) -> slice:
    return slice(number * FP8_BLOCK, (number + 1) * FP8_BLOCK)


def say_fp8(directory: Path) -> None:
    path = directory / "config.json"
    how = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [FP8_BLOCK, FP8_BLOCK]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": how}))


@EVERY_FAMILY
def test_8_bit_floats_are_scaled_while_loading(tmp_path: Path, family: str) -> None:
    plain, small = (write_tiny_checkpoint(tmp_path / name, family=family) for name in ("plain", "small"))
    untouched = reference_logits(plain, TEXT)
    rewrite(plain, rounded)
    rewrite(small, fp8)
    say_fp8(small)
    check(small)
    expected = reference_logits(plain, TEXT)
    assert (expected - untouched).abs().max() > 1e-2  # eight bits do round
    assert (logits_in_chunks(small, [60]) - expected).abs().max() < 1e-4


def test_8_bit_floats_without_their_scales_are_refused(tmp_path: Path) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family="deepseek_v3")
    rewrite(directory, fp8)
    with pytest.raises(CheckpointError, match=r"holds F8_E4M3, which nothing in config\.json explains"):
        check(directory)
    say_fp8(directory)
    scale = "model.layers.2.mlp.experts.7.down_proj.weight_scale_inv"
    rewrite(directory, lambda tensors: tensors | {scale: tensors[scale][:1].clone()})
    with pytest.raises(CheckpointError, match=r"experts\.7\.down_proj\.weight_scale_inv has shape \(1, 2\)"):
        check(directory)
    rewrite(directory, lambda tensors: {name: tensor for name, tensor in tensors.items() if name != scale})
    with pytest.raises(CheckpointError, match=r"lacks the tensor .*experts\.7\.down_proj\.weight_scale_inv"):
        check(directory)


def test_integers_are_not_taken_for_weights(tmp_path: Path) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family="qwen3_moe")
    name = "model.layers.0.self_attn.q_proj.weight"
    rewrite(directory, lambda tensors: tensors | {name: tensors[name].to(torch.int8)})
    with pytest.raises(CheckpointError, match=r"q_proj\.weight holds I8"):
        check(directory)
