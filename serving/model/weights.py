"""Loads a checkpoint's tensors, and of the experts only those that a rank holds; fp32 in memory, or packed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from serving.model.checkpoint import Checkpoint
from serving.model.config import GroupedShape, LatentShape, ModelConfig
from serving.model.huge_pages import in_huge_pages
from serving.model.layout import has_stacked_experts, needed_tensors
from serving.model.packed_experts import PackedExperts, load_packed_experts
from serving.model.tensor_files import TensorFiles


@dataclass(frozen=True, slots=True)
class GroupedWeights:
    inward: Tensor  # [(heads + 2 kv_heads + perhaps heads) * head_dim, hidden]: query, key, value, gate in one product
    qk_norm: Tensor  # [heads + kv_heads, head_dim]
    output: Tensor  # [hidden, heads * head_dim]


@dataclass(frozen=True, slots=True)
class LatentWeights:
    """Turned pairs are half of rotary_dims apart, whatever the checkpoint has."""

    inward: Tensor  # [query rank (or all heads' queries) + kv_rank + rotary_dims, hidden]
    query_norm: Tensor | None  # [query rank]
    query_up: Tensor | None  # [heads * (plain_dims + rotary_dims), query rank]
    latent_norm: Tensor  # [kv_rank]
    key_up: Tensor  # [heads, plain_dims, kv_rank]
    value_up: Tensor  # [heads, kv_rank, value_dims]
    output: Tensor  # [hidden, heads * value_dims]


@dataclass(frozen=True, slots=True)
class FeedForwardWeights:
    gate_up: Tensor  # [2 * size, hidden]
    down: Tensor  # [hidden, size]


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """The experts of one layer that this rank holds, in the order of `ids`; places beyond those are free."""

    ids: tuple[int, ...]
    gate_up: Tensor  # [places, 2 * size, hidden]
    down: Tensor  # [places, hidden, size]


@dataclass(frozen=True, slots=True)
class MixtureWeights:
    gate: Tensor  # [experts, hidden]
    bias: Tensor | None  # [experts], chooses experts and does not weigh them
    shared: FeedForwardWeights | None
    experts: ExpertWeights | PackedExperts


@dataclass(frozen=True, slots=True)
class LayerWeights:
    before_attention: Tensor  # norms; None: the family has none there
    after_attention: Tensor | None
    before_mlp: Tensor
    after_mlp: Tensor | None
    attention: GroupedWeights | LatentWeights
    mlp: FeedForwardWeights | MixtureWeights


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the whole network or of one stage of it; None: another stage has that end."""

    embedding: Tensor | None  # [vocab, hidden]
    layers: tuple[LayerWeights, ...]
    norm: Tensor | None
    head: Tensor | None  # [vocab, hidden]; the embedding itself when tied
    total_parameters: int  # held by this rank
    expert_parameters: int  # of these, in routed experts


def load_weights(
    checkpoint: Checkpoint, held: dict[int, tuple[int, ...]], layers: range | None = None, places: int = 0
) -> Weights:
    """`held[layer]` are the expert ids to load, `layers` those of a stage; None: all.

    With the first layer comes the embedding, with the last the norm behind it and the head. A layer has room for
    `places` experts, if more than those held.
    Raises CheckpointError for a missing or misshapen tensor.
    """
    config = checkpoint.config
    with TensorFiles(checkpoint.weight_files, "pt", config.fp8_block) as files:
        return _Loader(files, config, places).load(held, range(config.layers) if layers is None else layers)


def load_layer(checkpoint: Checkpoint, layer: int, held: tuple[int, ...]) -> LayerWeights:
    """One layer alone. Raises CheckpointError."""
    config = checkpoint.config
    with TensorFiles(checkpoint.weight_files, "pt", config.fp8_block) as files:
        return _Loader(files, config).layer(layer, held)


def load_experts(
    checkpoint: Checkpoint, wanted: dict[int, tuple[int, ...]]
) -> Iterator[tuple[int, ExpertWeights | PackedExperts]]:
    """The layers of `wanted`, one after the other, with those of their experts alone. Raises CheckpointError."""
    config = checkpoint.config
    with TensorFiles(checkpoint.weight_files, "pt", config.fp8_block) as files:
        loader = _Loader(files, config)
        for layer, ids in wanted.items():
            yield layer, loader.experts(f"model.layers.{layer}.mlp.experts.", ids)


class _Loader:
    """Reads one tensor after another; those of experts that are held elsewhere are never touched."""

    def __init__(self, files: TensorFiles, config: ModelConfig, places: int = 0) -> None:
        self._files, self._config, self._places = files, config, places
        self._shapes = needed_tensors(config, files)
        self._read = self._of_experts = 0

    def load(self, held: dict[int, tuple[int, ...]], numbers: range) -> Weights:
        first, last = 0 in numbers, self._config.layers - 1 in numbers
        embedding = self._tensor("model.embed_tokens.weight") if first else None
        head = self._head(embedding) if last else None
        layers = tuple(self.layer(layer, held.get(layer, ())) for layer in numbers)
        norm = self._tensor("model.norm.weight") if last else None
        return Weights(embedding, layers, norm, head, self._read, self._of_experts)

    def _head(self, embedding: Tensor | None) -> Tensor:
        if not self._config.tied_head:
            return self._tensor("lm_head.weight")
        return self._tensor("model.embed_tokens.weight") if embedding is None else embedding

    def layer(self, layer: int, held: tuple[int, ...]) -> LayerWeights:
        at, names = f"model.layers.{layer}.", self._config.names
        return LayerWeights(
            before_attention=self._tensor(at + names.before_attention),
            after_attention=self._optional(at, names.after_attention),
            before_mlp=self._tensor(at + names.before_mlp),
            after_mlp=self._optional(at, names.after_mlp),
            attention=self._attention(at + "self_attn."),
            mlp=self._mixture(at, held) if layer in self._config.expert_layers else self._feed_forward(at + "mlp."),
        )

    def _attention(self, at: str) -> GroupedWeights | LatentWeights:
        shape = self._config.attention
        return self._grouped(at, shape) if isinstance(shape, GroupedShape) else self._latent(at, shape)

    def _grouped(self, at: str, shape: GroupedShape) -> GroupedWeights:
        inward = ("q_proj", "k_proj", "v_proj", "gate_proj") if shape.output_gate else ("q_proj", "k_proj", "v_proj")
        query, key = (self._tensor(at + f"{name}_norm.weight") for name in ("q", "k"))
        return GroupedWeights(
            inward=torch.cat([self._tensor(at + f"{name}.weight") for name in inward]),
            qk_norm=torch.cat((query.expand(shape.heads, -1), key.expand(shape.kv_heads, -1))),
            output=self._tensor(at + "o_proj.weight"),
        )

    def _latent(self, at: str, shape: LatentShape) -> LatentWeights:
        queries = self._tensor(at + ("q_proj.weight" if shape.query_rank is None else "q_b_proj.weight"))
        queries = _halves_apart(queries.view(shape.heads, -1, queries.shape[1]), shape).flatten(0, 1)
        latent = _halves_apart(self._tensor(at + "kv_a_proj_with_mqa.weight").unsqueeze(0), shape).squeeze(0)
        up = self._tensor(at + "kv_b_proj.weight").view(shape.heads, -1, shape.kv_rank)
        straight = shape.query_rank is None
        return LatentWeights(
            inward=torch.cat((queries if straight else self._tensor(at + "q_a_proj.weight"), latent)),
            query_norm=None if straight else self._tensor(at + "q_a_layernorm.weight"),
            query_up=None if straight else queries,
            latent_norm=self._tensor(at + "kv_a_layernorm.weight"),
            key_up=up[:, : shape.plain_dims].contiguous(),
            value_up=up[:, shape.plain_dims :].transpose(1, 2).contiguous(),
            output=self._tensor(at + "o_proj.weight"),
        )

    def _feed_forward(self, at: str) -> FeedForwardWeights:
        gate_up = [self._tensor(at + f"{name}_proj.weight") for name in ("gate", "up")]
        return FeedForwardWeights(torch.cat(gate_up), self._tensor(at + "down_proj.weight"))

    def _mixture(self, at: str, held: tuple[int, ...]) -> MixtureWeights:
        names = self._config.names
        return MixtureWeights(
            gate=self._tensor(at + names.gate),
            bias=self._optional(at, names.gate_bias),
            shared=self._feed_forward(at + "mlp.shared_experts.") if self._config.shared_experts else None,
            experts=self.experts(at + "mlp.experts.", held),
        )

    def experts(self, at: str, held: tuple[int, ...]) -> ExpertWeights | PackedExperts:
        c = self._config
        if c.packing is not None and held:
            packed = load_packed_experts(self._files, at, held, self._shapes, self._places)
            self._read += packed.parameters
            self._of_experts += packed.parameters
            return packed
        places = max(len(held), self._places)
        # Memory of free places is not yet taken.
        gate_up = in_huge_pages(torch.empty(places, 2 * c.expert_size, c.hidden_size))
        down = in_huge_pages(torch.empty(places, c.hidden_size, c.expert_size))
        stacked = has_stacked_experts(at, self._files)
        before = self._read
        for place, expert in enumerate(held):
            if stacked:
                gate_up[place] = self._tensor(at + "gate_up_proj", expert)
                down[place] = self._tensor(at + "down_proj", expert)
            else:
                one = self._feed_forward(f"{at}{expert}.")
                gate_up[place], down[place] = one.gate_up, one.down
        self._of_experts += self._read - before
        return ExpertWeights(held, gate_up, down)

    def _optional(self, at: str, name: str | None) -> Tensor | None:
        return None if name is None else self._tensor(at + name)

    def _tensor(self, name: str, row: int | None = None) -> Tensor:
        """The whole tensor, or one row of a stack."""
        floats, scales = self._files.floats_of(name, self._shapes[name])
        taken, block = slice(None) if row is None else row, self._config.fp8_block
        tensor: Tensor = floats[taken].to(torch.float32)
        self._read += tensor.numel()
        return tensor if scales is None or block is None else _scaled(tensor, scales[taken].to(torch.float32), block)


def _halves_apart(rows: Tensor, shape: LatentShape) -> Tensor:
    """[heads, plain rows + rotary rows, columns]: turned pairs that are neighbours come to lie half a head apart.

    Queries and keys are reordered alike, so that their products stay what they were.
    """
    if not shape.interleaved:
        return rows
    plain, turned = rows[:, : -shape.rotary_dims], rows[:, -shape.rotary_dims :]
    return torch.cat((plain, turned[:, 0::2], turned[:, 1::2]), 1)


def _scaled(tensor: Tensor, scales: Tensor, block: tuple[int, int]) -> Tensor:
    """[rows, columns] times the scale of each block."""
    rows, columns = tensor.shape
    spread = scales.repeat_interleave(block[0], 0)[:rows].repeat_interleave(block[1], 1)[:, :columns]
    return tensor * spread
