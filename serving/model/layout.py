"""Knows which tensors a checkpoint of each family must hold, by name and shape; imports no torch."""

from __future__ import annotations

from collections.abc import Container

from serving.model.config import GroupedShape, LatentShape, ModelConfig
from serving.model.packing import packed_shapes

Shapes = dict[str, tuple[int, ...]]


def needed_tensors(config: ModelConfig, present: Container[str]) -> Shapes:
    """What all ranks together load; `present`: the names in the files, which tell how experts are laid out."""
    table = (config.vocab_size, config.hidden_size)
    needed: Shapes = {"model.embed_tokens.weight": table, "model.norm.weight": table[1:]}
    if not config.tied_head:
        needed["lm_head.weight"] = table
    for layer in range(config.layers):
        at = f"model.layers.{layer}."
        needed |= _norms(config, at) | _attention(config, at + "self_attn.")
        if layer in config.expert_layers:
            needed |= _mixture(config, at) | _experts(config, at + "mlp.experts.", present)
        else:
            needed |= _feed_forward(config, at + "mlp.", config.dense_size)
    return needed


def has_stacked_experts(at: str, present: Container[str]) -> bool:
    """transformers' own layout in memory, one tensor of all experts; published checkpoints have one an expert."""
    return at + "gate_up_proj" in present


def _norms(c: ModelConfig, at: str) -> Shapes:
    names = (c.names.before_attention, c.names.after_attention, c.names.before_mlp, c.names.after_mlp)
    return {at + name: (c.hidden_size,) for name in names if name is not None}


def _attention(c: ModelConfig, at: str) -> Shapes:
    shape, hidden = c.attention, c.hidden_size
    needed = _grouped(shape, hidden) if isinstance(shape, GroupedShape) else _latent(shape, hidden)
    return {at + name: size for name, size in needed.items()}


def _grouped(a: GroupedShape, hidden: int) -> Shapes:
    query, key = a.heads * a.head_dim, a.kv_heads * a.head_dim
    needed: Shapes = {
        "q_proj.weight": (query, hidden),
        "k_proj.weight": (key, hidden),
        "v_proj.weight": (key, hidden),
        "q_norm.weight": (a.head_dim,),
        "k_norm.weight": (a.head_dim,),
        "o_proj.weight": (hidden, query),
    }
    if a.output_gate:
        needed["gate_proj.weight"] = (query, hidden)
    return needed


def _latent(a: LatentShape, hidden: int) -> Shapes:
    query = a.heads * (a.plain_dims + a.rotary_dims)
    needed: Shapes = {
        "kv_a_proj_with_mqa.weight": (a.kv_rank + a.rotary_dims, hidden),
        "kv_a_layernorm.weight": (a.kv_rank,),
        "kv_b_proj.weight": (a.heads * (a.plain_dims + a.value_dims), a.kv_rank),
        "o_proj.weight": (hidden, a.heads * a.value_dims),
    }
    if a.query_rank is None:
        return needed | {"q_proj.weight": (query, hidden)}
    return needed | {
        "q_a_proj.weight": (a.query_rank, hidden),
        "q_a_layernorm.weight": (a.query_rank,),
        "q_b_proj.weight": (query, a.query_rank),
    }


def _mixture(c: ModelConfig, at: str) -> Shapes:
    needed: Shapes = {at + c.names.gate: (c.experts, c.hidden_size)}
    if c.names.gate_bias is not None:
        needed[at + c.names.gate_bias] = (c.experts,)
    if c.shared_experts:
        needed |= _feed_forward(c, at + "mlp.shared_experts.", c.shared_experts * c.expert_size)
    return needed


def _experts(c: ModelConfig, at: str, present: Container[str]) -> Shapes:
    if c.packing is not None:
        gate_up, down = c.packing.gate_up, c.packing.down
        needed = packed_shapes(at + "gate_up_proj", c.experts, 2 * c.expert_size, c.hidden_size, gate_up)
        return needed | packed_shapes(at + "down_proj", c.experts, c.hidden_size, c.expert_size, down)
    if has_stacked_experts(at, present):
        return {
            at + "gate_up_proj": (c.experts, 2 * c.expert_size, c.hidden_size),
            at + "down_proj": (c.experts, c.hidden_size, c.expert_size),
        }
    needed = {}
    for expert in range(c.experts):
        needed |= _feed_forward(c, f"{at}{expert}.", c.expert_size)
    return needed


def _feed_forward(c: ModelConfig, at: str, size: int) -> Shapes:
    inward: Shapes = {f"{at}{name}_proj.weight": (size, c.hidden_size) for name in ("gate", "up")}
    return inward | {at + "down_proj.weight": (c.hidden_size, size)}
