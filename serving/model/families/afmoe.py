"""Knows the `afmoe` family: gated attention, a norm before and after each part, a sigmoid gate with a bias."""

from __future__ import annotations

from serving.model.config import GroupedShape, ModelConfig, RoutingRule, TensorNames
from serving.model.families.fields import Fields
from serving.model.families.ropes import read_rope
from serving.model.families.shared_fields import read_shared

_NAMES = TensorNames(
    before_attention="input_layernorm.weight",
    after_attention="post_attention_layernorm.weight",
    before_mlp="pre_mlp_layernorm.weight",
    after_mlp="post_mlp_layernorm.weight",
    gate="mlp.router.gate.weight",
    gate_bias="mlp.expert_bias",
)


def read_afmoe(fields: Fields) -> ModelConfig:
    """Routing is transformers' own: one group of experts, weights normalised, whatever the file says otherwise."""
    fields.refuse(
        {
            "score_func": fields.get("score_func") not in (None, "sigmoid"),
            "n_group": fields.get("n_group") not in (None, 1),
            "num_expert_groups": fields.get("num_expert_groups") not in (None, 1),
            "route_norm": fields.flag("route_norm", True) is not True,
        }
    )
    layers, hidden = fields.count("num_hidden_layers"), fields.count("hidden_size")
    heads, context = fields.count("num_attention_heads"), fields.count("max_position_embeddings")
    head_dim = fields.count("head_dim", default=hidden // heads)
    sliding = _sliding(fields, layers)
    return ModelConfig(
        model_type="afmoe",
        expert_layers=tuple(range(fields.count("num_dense_layers", default=1, least=0), layers)),
        experts=fields.count("num_experts"),
        shared_experts=fields.count("num_shared_experts", default=0, least=0),
        routing=RoutingRule("sigmoid", normalised=True, scale=fields.number("route_scale", 1.0)),
        attention=GroupedShape(
            heads=heads,
            kv_heads=fields.count("num_key_value_heads", default=heads),
            head_dim=head_dim,
            output_gate=True,
            sliding=sliding,
            rotary=sliding,  # layers that see everything do not tell places apart
        ),
        rope=read_rope(fields, head_dim, context, scaled=False),
        norm_eps=fields.number("rms_norm_eps", 1e-5),
        window=fields.count("sliding_window", default=context),
        embedding_scale=hidden**0.5 if fields.flag("mup_enabled") else 1.0,
        names=_NAMES,
        **read_shared(fields),
    )


def _sliding(fields: Fields, layers: int) -> tuple[bool, ...]:
    every = fields.count("global_attn_every_n_layers", default=4)
    kinds = fields.get("layer_types") or [
        "sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)
    ]
    if len(kinds) != layers:
        raise ValueError("layer_types must name one kind for each layer")
    return tuple(kind == "sliding_attention" for kind in kinds)
