"""Knows the `deepseek_v3` family, DeepSeek-R1 too: latent attention, a sigmoid gate that first chooses groups."""

from __future__ import annotations

from serving.model.config import LatentShape, ModelConfig, Rope, RoutingRule, TensorNames
from serving.model.families.fields import Fields
from serving.model.families.ropes import read_rope
from serving.model.families.shared_fields import read_shared

_NAMES = TensorNames(
    before_attention="input_layernorm.weight",
    after_attention=None,
    before_mlp="post_attention_layernorm.weight",
    after_mlp=None,
    gate="mlp.gate.weight",
    gate_bias="mlp.gate.e_score_correction_bias",
)


def read_deepseek_v3(fields: Fields) -> ModelConfig:
    """The layers for predicting several tokens at once, behind the last one, are not served and not read."""
    fields.refuse(
        {
            "scoring_func": fields.get("scoring_func") not in (None, "sigmoid"),
            "topk_method": fields.get("topk_method") not in (None, "noaux_tc"),
            "moe_layer_freq": fields.get("moe_layer_freq") not in (None, 1),
        }
    )
    layers, context = fields.count("num_hidden_layers"), fields.count("max_position_embeddings")
    rope = read_rope(fields, fields.count("qk_rope_head_dim"), context)
    return ModelConfig(
        model_type="deepseek_v3",
        expert_layers=tuple(range(fields.count("first_k_dense_replace", default=3, least=0), layers)),
        experts=fields.count("n_routed_experts", "num_local_experts"),
        shared_experts=fields.count("n_shared_experts", default=1, least=0),
        routing=RoutingRule(
            "sigmoid",
            normalised=fields.flag("norm_topk_prob", True),
            scale=fields.number("routed_scaling_factor", 2.5),
            groups=fields.count("n_group", default=8),
            groups_per_token=fields.count("topk_group", default=4),
        ),
        attention=_attention(fields, rope),
        rope=rope,
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        window=context,
        embedding_scale=1.0,
        names=_NAMES,
        **read_shared(fields),
    )


def _attention(fields: Fields, rope: Rope) -> LatentShape:
    plain = fields.count("qk_nope_head_dim")
    return LatentShape(
        heads=fields.count("num_attention_heads"),
        query_rank=fields.count("q_lora_rank") if fields.get("q_lora_rank") is not None else None,
        kv_rank=fields.count("kv_lora_rank"),
        plain_dims=plain,
        rotary_dims=rope.dims,
        value_dims=fields.count("v_head_dim"),
        interleaved=fields.flag("rope_interleave", True),
        scale=(plain + rope.dims) ** -0.5 * (rope.yarn.key_scale if rope.yarn else 1.0),
    )
