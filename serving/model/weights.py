"""Loads an `afmoe` checkpoint's tensors, and of the experts only those that a rank holds; fp32 in memory, or packed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from serving.model.checkpoint import Checkpoint
from serving.model.config import ModelConfig
from serving.model.packed_experts import PackedExperts, load_packed_experts
from serving.model.packing import ExpertPacking
from serving.model.tensor_files import TensorFiles


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    qkvg: Tensor  # [(heads + 2 kv_heads + heads) * head_dim, hidden]: query, key, value and output gate in one product
    qk_norm: Tensor  # [heads + kv_heads, head_dim]
    output: Tensor  # [hidden, heads * head_dim]


@dataclass(frozen=True, slots=True)
class FeedForwardWeights:
    gate_up: Tensor  # [2 * size, hidden]
    down: Tensor  # [hidden, size]


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """The experts of one layer that this rank holds, in the order of `ids`."""

    ids: tuple[int, ...]
    gate_up: Tensor  # [held, 2 * size, hidden]
    down: Tensor  # [held, hidden, size]


@dataclass(frozen=True, slots=True)
class MixtureWeights:
    gate: Tensor  # [experts, hidden]
    bias: Tensor  # [experts], chooses experts and does not weigh them
    shared: FeedForwardWeights | None
    experts: ExpertWeights | PackedExperts


@dataclass(frozen=True, slots=True)
class LayerWeights:
    before_attention: Tensor
    after_attention: Tensor
    before_mlp: Tensor
    after_mlp: Tensor
    attention: AttentionWeights
    mlp: FeedForwardWeights | MixtureWeights


@dataclass(frozen=True, slots=True)
class Weights:
    embedding: Tensor  # [vocab, hidden]
    layers: tuple[LayerWeights, ...]
    norm: Tensor
    head: Tensor  # [vocab, hidden]; the embedding itself when tied
    total_parameters: int  # held by this rank
    expert_parameters: int  # of these, in routed experts


def load_weights(checkpoint: Checkpoint, held: dict[int, tuple[int, ...]]) -> Weights:
    """`held[layer]` are the expert ids to load. Raises CheckpointError for a missing or misshapen tensor."""
    with TensorFiles(checkpoint.weight_files, "pt") as files:
        return _Loader(files, checkpoint.config, checkpoint.packing).load(held)


class _Loader:
    def __init__(self, files: TensorFiles, config: ModelConfig, packing: ExpertPacking | None) -> None:
        self._files, self._config, self._packing = files, config, packing
        self._read = self._of_experts = 0

    def load(self, held: dict[int, tuple[int, ...]]) -> Weights:
        config = self._config
        embedding = self._tensor("model.embed_tokens.weight", config.vocab_size, config.hidden_size)
        tied = config.tied_head or "lm_head.weight" not in self._files
        head = embedding if tied else self._tensor("lm_head.weight", config.vocab_size, config.hidden_size)
        layers = tuple(self._layer(layer, held.get(layer, ())) for layer in range(config.layers))
        norm = self._tensor("model.norm.weight", config.hidden_size)
        return Weights(embedding, layers, norm, head, self._read, self._of_experts)

    def _layer(self, layer: int, held: tuple[int, ...]) -> LayerWeights:
        at, hidden = f"model.layers.{layer}.", self._config.hidden_size
        expert_layer = layer in self._config.expert_layers
        return LayerWeights(
            before_attention=self._tensor(at + "input_layernorm.weight", hidden),
            after_attention=self._tensor(at + "post_attention_layernorm.weight", hidden),
            before_mlp=self._tensor(at + "pre_mlp_layernorm.weight", hidden),
            after_mlp=self._tensor(at + "post_mlp_layernorm.weight", hidden),
            attention=self._attention(at + "self_attn."),
            mlp=self._mixture(at + "mlp.", held)
            if expert_layer
            else self._feed_forward(at + "mlp.", self._config.dense_size),
        )

    def _attention(self, at: str) -> AttentionWeights:
        c = self._config
        query, key = c.heads * c.head_dim, c.kv_heads * c.head_dim
        projections = [
            self._tensor(at + f"{name}_proj.weight", rows, c.hidden_size)
            for name, rows in (("q", query), ("k", key), ("v", key), ("gate", query))
        ]
        norms = [self._tensor(at + f"{name}_norm.weight", c.head_dim) for name in ("q", "k")]
        return AttentionWeights(
            qkvg=torch.cat(projections),
            qk_norm=torch.cat((norms[0].expand(c.heads, -1), norms[1].expand(c.kv_heads, -1))),
            output=self._tensor(at + "o_proj.weight", c.hidden_size, query),
        )

    def _feed_forward(self, at: str, size: int) -> FeedForwardWeights:
        hidden = self._config.hidden_size
        gate_up = [self._tensor(at + f"{name}_proj.weight", size, hidden) for name in ("gate", "up")]
        return FeedForwardWeights(torch.cat(gate_up), self._tensor(at + "down_proj.weight", hidden, size))

    def _mixture(self, at: str, held: tuple[int, ...]) -> MixtureWeights:
        c = self._config
        shared_size = c.shared_experts * c.expert_size
        return MixtureWeights(
            gate=self._tensor(at + "router.gate.weight", c.experts, c.hidden_size),
            bias=self._tensor(at + "expert_bias", c.experts),
            shared=self._feed_forward(at + "shared_experts.", shared_size) if shared_size else None,
            experts=self._experts(at + "experts.", held),
        )

    def _experts(self, at: str, held: tuple[int, ...]) -> ExpertWeights | PackedExperts:
        c = self._config
        if self._packing is not None:
            packed = load_packed_experts(self._files, at, held, c, self._packing)
            self._read += packed.parameters
            self._of_experts += packed.parameters
            return packed
        gate_up = torch.empty(len(held), 2 * c.expert_size, c.hidden_size)
        down = torch.empty(len(held), c.hidden_size, c.expert_size)
        stacked = at + "gate_up_proj" in self._files  # transformers' own layout in memory; usually one tensor an expert
        before = self._read
        for place, expert in enumerate(held):
            if stacked:
                gate_up[place] = self._slice(at + "gate_up_proj", expert, c.experts, *gate_up.shape[1:])
                down[place] = self._slice(at + "down_proj", expert, c.experts, *down.shape[1:])
            else:
                one = self._feed_forward(f"{at}{expert}.", c.expert_size)
                gate_up[place], down[place] = one.gate_up, one.down
        self._of_experts += self._read - before
        return ExpertWeights(held, gate_up, down)

    def _tensor(self, name: str, *shape: int) -> Tensor:
        tensor: Tensor = self._files.slice_of(name, shape)[:]
        self._read += tensor.numel()
        return tensor.to(torch.float32)

    def _slice(self, name: str, row: int, *shape: int) -> Tensor:
        tensor: Tensor = self._files.slice_of(name, shape)[row]
        self._read += tensor.numel()
        return tensor.to(torch.float32)
