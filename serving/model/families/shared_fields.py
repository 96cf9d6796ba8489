"""Reads what every family's config.json says in the same words."""

from __future__ import annotations

from typing import TypedDict

from serving.model.families.expert_packing import read_expert_packing
from serving.model.families.fields import Fields
from serving.model.packing import ExpertPacking


class SharedFields(TypedDict):
    """Fields of ModelConfig."""

    vocab_size: int
    hidden_size: int
    layers: int
    dense_size: int
    expert_size: int
    experts_per_token: int
    context_length: int
    tied_head: bool
    fp8_block: tuple[int, int] | None
    packing: ExpertPacking | None
    eos_ids: tuple[int, ...]
    name: str | None


def read_shared(fields: Fields) -> SharedFields:
    """Raises CheckpointError for biases in attention, activations other than silu and foreign quantisation."""
    fields.refuse(
        {
            "attention_bias": fields.flag("attention_bias"),
            "hidden_act": fields.get("hidden_act") not in (None, "silu"),
        }
    )
    name, packing = fields.get("name"), read_expert_packing(fields)
    return SharedFields(
        vocab_size=fields.count("vocab_size"),
        hidden_size=fields.count("hidden_size"),
        layers=fields.count("num_hidden_layers"),
        dense_size=fields.count("intermediate_size"),
        expert_size=fields.count("moe_intermediate_size"),
        experts_per_token=fields.count("num_experts_per_tok"),
        context_length=fields.count("max_position_embeddings"),
        tied_head=fields.flag("tie_word_embeddings"),
        fp8_block=None if packing else _fp8_block(fields),
        packing=packing,
        eos_ids=fields.counts("eos_token_id"),
        name=None if name is None else str(name),
    )


def _fp8_block(fields: Fields) -> tuple[int, int] | None:
    """Weights in 8-bit floats with a scale for each block, as DeepSeek publishes them; None: none."""
    if fields.get("quantization_config") is None:
        return None
    how = fields.below("quantization_config")
    fields.refuse(
        {
            "quantization_config.quant_method": how.get("quant_method") != "fp8",
            "quantization_config.fmt": how.get("fmt") not in (None, "e4m3"),
        }
    )
    block = how.counts("weight_block_size")
    if len(block) != 2 or 0 in block:
        raise ValueError(f"quantization_config.weight_block_size must be two positive integers, not {list(block)}")
    return block[0], block[1]
