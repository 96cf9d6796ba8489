"""Packs a checkpoint's experts to 4 bits once: `python -m serving.experts.pack CHECKPOINT OUT`; all else stays."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from serving.experts.quantise import Quantised, quantise
from serving.model.checkpoint import Checkpoint, open_checkpoint
from serving.model.config import CheckpointError, ModelConfig, read_json
from serving.model.packing import CODES, SCALES, ZEROS, ExpertPacking, Grouping, best_grouping, packing_to_json
from serving.model.tensor_files import TensorFiles, check_tensors

# Said of the model in floats: a packed one answers otherwise, and its confidence has to be found anew.
_NOT_COPIED = ("calibration.json", "certificate.json", "README.md")


@dataclass(frozen=True, slots=True)
class PackedSize:
    expert_bytes: int  # codes, scales and zeros
    bf16_bytes: int  # of the same experts

    @property
    def ratio(self) -> float:
        return self.expert_bytes / self.bf16_bytes


def pack(source: Path, target: Path) -> PackedSize:
    """`target` must not exist, and appears when it is whole. One layer's experts are in memory at a time.

    Raises CheckpointError when the source cannot be packed, FileExistsError for the target, OSError while writing.
    """
    part = target.with_name(target.name + ".part")
    for path in (target, part):
        if path.exists():
            raise FileExistsError(f"{path} exists already: name a new directory.")
    checkpoint = open_checkpoint(source)
    if checkpoint.config.packing is not None:
        raise CheckpointError(f"{source} is packed already: pack the checkpoint that it was made from.")
    check_tensors(checkpoint.weight_files, checkpoint.config)
    packing = _choose_packing(checkpoint.config)
    part.mkdir(parents=True)
    try:
        expert_bytes = _write_experts(checkpoint, packing, part)
        _write_rest(checkpoint, part)
        _write_companions(checkpoint.directory, packing, part)
        for path in part.glob("*.safetensors"):  # written for their owner alone
            shutil.copymode(checkpoint.weight_files[0], path)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part)
        raise
    config = checkpoint.config
    weights = len(config.expert_layers) * config.experts * 3 * config.hidden_size * config.expert_size
    return PackedSize(expert_bytes, 2 * weights)


def _choose_packing(config: ModelConfig) -> ExpertPacking:
    try:
        return ExpertPacking(gate_up=best_grouping(config.hidden_size), down=best_grouping(config.expert_size))
    except ValueError as error:
        raise CheckpointError(f"The checkpoint stays as it is: {error}.") from error


def _write_experts(checkpoint: Checkpoint, packing: ExpertPacking, target: Path) -> int:
    """One file a layer; how many bytes of tensors they hold."""
    written, config = 0, checkpoint.config
    with TensorFiles(checkpoint.weight_files, "pt", config.fp8_block) as files:
        for layer in config.expert_layers:
            at = _experts_of(layer)
            tensors = _stacked(at + "gate_up_proj", _gate_up(files, config, at), packing.gate_up)
            tensors |= _stacked(at + "down_proj", _down(files, config, at), packing.down)
            save_file(tensors, target / f"experts-{layer:05}.safetensors")
            written += sum(tensor.nbytes for tensor in tensors.values())
    return written


def _stacked(name: str, matrices: Iterable[Tensor], grouping: Grouping) -> dict[str, Tensor]:
    found: list[Quantised] = []
    for expert, matrix in enumerate(matrices):
        try:
            found.append(quantise(matrix, grouping))
        except ValueError as error:
            raise CheckpointError(f"{name} of expert {expert} cannot be packed: {error}.") from error
    tensors = {name + CODES: torch.stack([one.codes for one in found])}
    tensors[name + SCALES] = torch.stack([one.scales for one in found])
    if grouping.zeros:
        tensors[name + ZEROS] = torch.stack([one.zeros for one in found if one.zeros is not None])
    return tensors


def _gate_up(files: TensorFiles, c: ModelConfig, at: str) -> Iterable[Tensor]:
    """[2 * size, hidden] of each expert."""
    for expert in range(c.experts):
        if at + "gate_up_proj" in files:
            yield _read(files, at + "gate_up_proj", (c.experts, 2 * c.expert_size, c.hidden_size), expert)
        else:
            names = (f"{at}{expert}.{half}_proj.weight" for half in ("gate", "up"))
            yield torch.cat([_read(files, name, (c.expert_size, c.hidden_size), slice(None)) for name in names])


def _down(files: TensorFiles, c: ModelConfig, at: str) -> Iterable[Tensor]:
    """[hidden, size] of each expert."""
    for expert in range(c.experts):
        if at + "down_proj" in files:
            yield _read(files, at + "down_proj", (c.experts, c.hidden_size, c.expert_size), expert)
        else:
            yield _read(files, f"{at}{expert}.down_proj.weight", (c.hidden_size, c.expert_size), slice(None))


def _read(files: TensorFiles, name: str, shape: tuple[int, ...], which: int | slice) -> Tensor:
    part, scales = files.floats_of(name, shape)
    if scales is not None:
        raise CheckpointError(f"The tensor {name} holds 8-bit floats: pack the checkpoint in bf16.")
    tensor: Tensor = part[which]
    return tensor


def _write_rest(checkpoint: Checkpoint, target: Path) -> None:
    """Every tensor that is no expert's, as it is."""
    experts = tuple(_experts_of(layer) for layer in checkpoint.config.expert_layers)
    for number, path in enumerate(checkpoint.weight_files):
        with safe_open(path, framework="pt", device="cpu") as file:
            names = [name for name in file.keys() if not name.startswith(experts)]  # noqa: SIM118 - not a mapping
            if names:
                save_file({name: file.get_tensor(name) for name in names}, target / f"rest-{number:05}.safetensors")


def _write_companions(source: Path, packing: ExpertPacking, target: Path) -> None:
    for path in sorted(source.iterdir()):
        weights = path.name.endswith((".safetensors", ".safetensors.index.json"))
        if path.is_file() and not weights and path.name not in _NOT_COPIED:
            shutil.copyfile(path, target / path.name)
    written = read_json(source / "config.json") | {"quantization_config": packing_to_json(packing)}
    (target / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _experts_of(layer: int) -> str:
    return f"model.layers.{layer}.mlp.experts."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="a new directory")
    options = parser.parse_args()
    try:
        size = pack(options.checkpoint, options.out)
    except (CheckpointError, OSError) as error:
        sys.exit(str(error))
    share = f"{size.expert_bytes / 1e6:.2f} MB, {size.ratio:.1%} of the {size.bf16_bytes / 1e6:.2f} MB in bf16"
    print(f"{options.out}: experts take {share}")


if __name__ == "__main__":
    main()
