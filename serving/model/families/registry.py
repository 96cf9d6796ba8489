"""Reads a checkpoint's config.json with the family that its `model_type` names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from serving.model.config import CheckpointError, GroupedShape, ModelConfig, read_json
from serving.model.families.afmoe import read_afmoe
from serving.model.families.deepseek_v3 import read_deepseek_v3
from serving.model.families.fields import Fields
from serving.model.families.qwen3_moe import read_qwen3_moe

FAMILIES: dict[str, Callable[[Fields], ModelConfig]] = {
    "afmoe": read_afmoe,
    "deepseek_v3": read_deepseek_v3,
    "qwen3_moe": read_qwen3_moe,
}


def read_model_config(directory: Path) -> ModelConfig:
    """Raises CheckpointError for a missing directory, another family or a feature that is not served."""
    if not directory.is_dir():
        raise CheckpointError(f"There is no checkpoint directory {directory}: set COUNTERSIGN_CHECKPOINT to one.")
    data = read_json(directory / "config.json")
    found = data.get("model_type")
    read = FAMILIES.get(found) if isinstance(found, str) else None
    if read is None:
        *others, last = FAMILIES
        served = f"{', '.join(others)} and {last}"
        raise CheckpointError(
            f"{directory} holds a {found!r} model, served are {served}: "
            "choose one of these, or COUNTERSIGN_BACKEND=vllm for what vLLM knows."
        )
    try:
        config = read(Fields(data, directory))
        _check(config)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise CheckpointError(f"{directory}/config.json misstates a field ({error}): export it again.") from error
    return config


def _check(config: ModelConfig) -> None:
    """Whether the numbers can be those of one network. Raises ValueError."""
    rule, size = config.routing, config.experts // config.routing.groups
    attention = config.attention
    if isinstance(attention, GroupedShape) and attention.heads % attention.kv_heads:
        raise ValueError("num_key_value_heads must divide num_attention_heads")
    if config.experts_per_token > config.experts:
        raise ValueError("num_experts_per_tok must not be more than there are experts")
    if rule.groups > 1 and (config.experts % rule.groups or size < 2):
        raise ValueError("n_group must divide the experts into groups of at least two")
    if rule.groups_per_token > rule.groups or rule.groups_per_token * size < config.experts_per_token:
        raise ValueError("topk_group must be at most n_group and hold num_experts_per_tok experts")
