"""A checkpoint is known by its content; what cannot be served is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from serving.backends.vllm.checkpoint import open_any_checkpoint
from serving.experts.placement import contiguous_placement
from serving.model.checkpoint import digest_of, open_checkpoint
from serving.model.config import CheckpointError
from serving.model.weights import ExpertWeights, MixtureWeights, load_weights


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def change(directory: Path, **fields: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def experts_of(directory: Path, held: tuple[int, ...]) -> ExpertWeights:
    mlp = load_weights(open_checkpoint(directory), {1: held, 2: held}).layers[1].mlp
    assert isinstance(mlp, MixtureWeights)
    return mlp.experts


def test_the_id_names_the_directory_and_the_weights(copy: Path) -> None:
    before = open_checkpoint(copy)
    assert before.model_id == f"countersign-copy@{before.digest}"
    assert len(before.digest) == 12
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"] += 1e-3
    save_file(tensors, copy / "model.safetensors")
    assert open_checkpoint(copy).digest != before.digest


def test_a_name_in_the_config_is_the_models_name(copy: Path) -> None:
    change(copy, name="countersign-reference")
    assert open_checkpoint(copy).name == "countersign-reference"


def test_generation_defaults_are_greedy_unless_the_checkpoint_samples(copy: Path) -> None:
    assert open_checkpoint(copy).defaults.temperature == 0.0
    defaults = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 99}
    (copy / "generation_config.json").write_text(json.dumps(defaults))
    found = open_checkpoint(copy).defaults
    assert (found.max_tokens, found.temperature, found.top_p) == (99, 0.7, 0.9)


def remove(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


BROKEN: dict[str, Callable[[Path], object]] = {
    "There is no checkpoint directory": shutil.rmtree,
    r"config\.json cannot be read": remove("config.json"),
    "not valid JSON": lambda directory: (directory / "config.json").write_text("{"),
    "'llama' model": lambda directory: change(directory, model_type="llama"),
    "rope_type": lambda directory: change(directory, rope_parameters={"rope_type": "yarn", "factor": 2.0}),
    "rope_scaling": lambda directory: change(directory, rope_scaling={"type": "yarn", "factor": 2.0}),
    "n_group": lambda directory: change(directory, n_group=2),
    "num_expert_groups": lambda directory: change(directory, num_expert_groups=2),
    "route_norm": lambda directory: change(directory, route_norm=False),  # transformers normalises all the same
    "attention_bias": lambda directory: change(directory, attention_bias=True),
    "vocab_size": lambda directory: change(directory, vocab_size=None),
    "layer_types": lambda directory: change(directory, layer_types=["full_attention"]),
    "no \\*\\.safetensors": remove("model.safetensors"),
    r"no tokenizer\.json": remove("tokenizer.json"),
}


@pytest.mark.parametrize(("sentence", "breaking"), BROKEN.items(), ids=list(BROKEN))
def test_what_is_missing_or_foreign_is_named(copy: Path, sentence: str, breaking: Callable[[Path], object]) -> None:
    breaking(copy)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        open_checkpoint(copy)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_a_missing_a_misshapen_and_a_broken_tensor_file_are_named(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    norm = tensors.pop("model.norm.weight")
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks the tensor model\.norm\.weight"):
        experts_of(copy, (0,))
    save_file(tensors | {"model.norm.weight": norm[:-1].clone()}, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight has shape \(31,\)"):
        experts_of(copy, (0,))
    (copy / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="broken safetensors"):
        experts_of(copy, (0,))


def test_only_the_experts_asked_for_are_read(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    others = {name for name in tensors if ".experts." in name and not {".3.", ".6."} & set(_numbers(name))}
    save_file({name: tensor for name, tensor in tensors.items() if name not in others}, copy / "model.safetensors")
    found = experts_of(copy, (3, 6))  # the other experts are not even in the file
    torch.testing.assert_close(found.down[1], tensors["model.layers.1.mlp.experts.6.down_proj.weight"])
    with pytest.raises(CheckpointError, match=r"experts\.0\."):
        experts_of(copy, (0,))


def test_stacked_experts_are_read_slice_by_slice(copy: Path) -> None:
    expected = experts_of(copy, (2, 5))
    tensors = load_file(copy / "model.safetensors")
    for layer in (1, 2):
        at = f"model.layers.{layer}.mlp.experts."
        parts = {part: [tensors.pop(f"{at}{e}.{part}.weight") for e in range(8)] for part in _PARTS}
        gate_up = [torch.cat(pair) for pair in zip(parts["gate_proj"], parts["up_proj"], strict=True)]
        tensors[at + "gate_up_proj"], tensors[at + "down_proj"] = torch.stack(gate_up), torch.stack(parts["down_proj"])
    save_file(tensors, copy / "model.safetensors")
    found = experts_of(copy, (2, 5))
    torch.testing.assert_close(found.gate_up, expected.gate_up)
    torch.testing.assert_close(found.down, expected.down)


def test_parameters_are_counted_by_what_a_rank_holds(tiny_checkpoint: Path) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint)
    whole = sum(tensor.numel() for tensor in load_file(tiny_checkpoint / "model.safetensors").values())
    shards = [load_weights(checkpoint, contiguous_placement(checkpoint.config, 3).held_by(rank)) for rank in range(3)]
    replicated = {shard.total_parameters - shard.expert_parameters for shard in shards}
    assert len(replicated) == 1
    assert replicated.pop() + sum(shard.expert_parameters for shard in shards) == whole


_PARTS = ("gate_proj", "up_proj", "down_proj")


def _numbers(name: str) -> list[str]:
    return [f".{part}." for part in name.split(".") if part.isdigit()][1:]


def test_generation_defaults_that_are_no_numbers_are_named(copy: Path) -> None:
    (copy / "generation_config.json").write_text(json.dumps({"max_new_tokens": "many"}))
    with pytest.raises(CheckpointError, match=r"generation_config\.json misstates a field"):
        open_checkpoint(copy)


def test_weights_that_cannot_be_read_are_named(copy: Path) -> None:
    weights = next(copy.glob("*.safetensors"))
    with pytest.raises(CheckpointError, match=f"{weights.name}/none cannot be read .*: let this user read"):
        digest_of((weights / "none",))


def test_what_vllm_is_to_serve_must_be_whole_too(copy: Path) -> None:
    weights = next(copy.glob("*.safetensors"))
    whole = weights.read_bytes()
    for broken in (whole[: len(whole) // 2], whole + b"ab", b"version https://git-lfs.github.com/spec/v1\n"):
        weights.write_bytes(broken)
        with pytest.raises(CheckpointError, match="broken safetensors file: copy the checkpoint again"):
            open_any_checkpoint(copy)
