"""Opens a checkpoint's safetensors files and knows their tensors' names and shapes; imports no torch."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from serving.model.config import CheckpointError, ModelConfig
from serving.model.packing import ExpertPacking, packed_shapes

Shapes = dict[str, tuple[int, ...]]


class TensorFiles:
    """Opened without reading any tensor; a file shorter or longer than its header says is refused."""

    def __init__(self, paths: tuple[Path, ...], framework: Literal["pt", "numpy"]) -> None:
        """`framework`: of the tensors that a slice gives. Raises CheckpointError."""
        try:
            self._open: list[Any] = [safe_open(path, framework=framework, device="cpu") for path in paths]
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{paths[0].parent} holds a broken safetensors file: copy it again.") from error
        self._holder = {name: file for file in self._open for name in file.keys()}  # noqa: SIM118 - not a mapping

    def __enter__(self) -> TensorFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._open:
            file.__exit__(kind, error, trace)

    def __contains__(self, name: str) -> bool:
        return name in self._holder

    def slice_of(self, name: str, shape: tuple[int, ...]) -> Any:
        """Raises CheckpointError when there is no such tensor or its shape is another."""
        if name not in self._holder:
            raise CheckpointError(f"The checkpoint lacks the tensor {name}: export it again.")
        part = self._holder[name].get_slice(name)
        if tuple(part.get_shape()) != shape:
            found = tuple(part.get_shape())
            raise CheckpointError(f"The tensor {name} has shape {found}, config.json says {shape}: export it again.")
        return part


def check_tensors(paths: tuple[Path, ...], config: ModelConfig, packing: ExpertPacking | None) -> None:
    """Whether every tensor that `config` needs is there in its shape. Raises CheckpointError."""
    with TensorFiles(paths, "numpy") as files:
        for name, shape in _needed(config, files, packing).items():
            files.slice_of(name, shape)


def _needed(config: ModelConfig, files: TensorFiles, packing: ExpertPacking | None) -> Shapes:
    """What all ranks together load (serving/model/weights.py), by name."""
    table = (config.vocab_size, config.hidden_size)
    needed: Shapes = {"model.embed_tokens.weight": table, "model.norm.weight": table[1:]}
    if not config.tied_head and "lm_head.weight" in files:
        needed["lm_head.weight"] = table
    for layer in range(config.layers):
        at = f"model.layers.{layer}."
        needed |= _attention(config, at)
        if layer in config.expert_layers:
            needed |= _mixture(config, at + "mlp.") | _experts(config, at + "mlp.experts.", files, packing)
        else:
            needed |= _feed_forward(config, at + "mlp.", config.dense_size)
    return needed


def _attention(c: ModelConfig, at: str) -> Shapes:
    query, key = c.heads * c.head_dim, c.kv_heads * c.head_dim
    norms = ("input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm")
    projections = (("q", query), ("k", key), ("v", key), ("gate", query))
    needed: Shapes = {f"{at}{norm}.weight": (c.hidden_size,) for norm in norms}
    needed |= {f"{at}self_attn.{name}_proj.weight": (rows, c.hidden_size) for name, rows in projections}
    needed |= {f"{at}self_attn.{name}_norm.weight": (c.head_dim,) for name in ("q", "k")}
    return needed | {f"{at}self_attn.o_proj.weight": (c.hidden_size, query)}


def _mixture(c: ModelConfig, at: str) -> Shapes:
    needed: Shapes = {
        at + "router.gate.weight": (c.experts, c.hidden_size),
        at + "expert_bias": (c.experts,),
    }
    if c.shared_experts:
        needed |= _feed_forward(c, at + "shared_experts.", c.shared_experts * c.expert_size)
    return needed


def _experts(c: ModelConfig, at: str, files: TensorFiles, packing: ExpertPacking | None) -> Shapes:
    if packing is not None:
        return packed_shapes(at, c, packing)
    if at + "gate_up_proj" in files:
        return {
            at + "gate_up_proj": (c.experts, 2 * c.expert_size, c.hidden_size),
            at + "down_proj": (c.experts, c.hidden_size, c.expert_size),
        }
    needed: Shapes = {}
    for expert in range(c.experts):
        needed |= _feed_forward(c, f"{at}{expert}.", c.expert_size)
    return needed


def _feed_forward(c: ModelConfig, at: str, size: int) -> Shapes:
    inward: Shapes = {f"{at}{name}_proj.weight": (size, c.hidden_size) for name in ("gate", "up")}
    return inward | {at + "down_proj.weight": (c.hidden_size, size)}
