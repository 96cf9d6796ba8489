"""Knows the `qwen3_moe` family: grouped attention, norms before each part only, a softmax gate without a bias."""

from __future__ import annotations

from serving.model.config import GroupedShape, ModelConfig, RoutingRule, TensorNames
from serving.model.families.fields import Fields
from serving.model.families.ropes import read_rope
from serving.model.families.shared_fields import read_shared

_NAMES = TensorNames(
    before_attention="input_layernorm.weight",
    after_attention=None,
    before_mlp="post_attention_layernorm.weight",
    after_mlp=None,
    gate="mlp.gate.weight",
    gate_bias=None,
)


def read_qwen3_moe(fields: Fields) -> ModelConfig:
    layers, heads = fields.count("num_hidden_layers"), fields.count("num_attention_heads")
    head_dim = fields.count("head_dim", default=fields.count("hidden_size") // heads)
    context = fields.count("max_position_embeddings")
    sliding = fields.flag("use_sliding_window") and fields.get("sliding_window") is not None
    return ModelConfig(
        model_type="qwen3_moe",
        expert_layers=_expert_layers(fields, layers),
        experts=fields.count("num_experts", "num_local_experts"),
        shared_experts=0,
        routing=RoutingRule("softmax", normalised=fields.flag("norm_topk_prob"), scale=1.0),
        attention=GroupedShape(
            heads=heads,
            kv_heads=fields.count("num_key_value_heads", default=heads),
            head_dim=head_dim,
            output_gate=False,
            sliding=(sliding,) * layers,
            rotary=(True,) * layers,
        ),
        rope=read_rope(fields, head_dim, context),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        window=fields.count("sliding_window") if sliding else context,
        embedding_scale=1.0,
        names=_NAMES,
        **read_shared(fields),
    )


def _expert_layers(fields: Fields, layers: int) -> tuple[int, ...]:
    """Every n-th layer holds experts, but for those that are named as dense."""
    every, dense = fields.count("decoder_sparse_step", default=1), fields.counts("mlp_only_layers")
    return tuple(layer for layer in range(layers) if (layer + 1) % every == 0 and layer not in dense)
