"""A config.json says what its network does, in each family's words; what is not served is refused by its field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serving.checks import verify
from serving.model.checkpoint import open_checkpoint
from serving.model.config import CheckpointError, ModelConfig, Rope, Yarn
from serving.model.families.registry import FAMILIES, read_model_config
from serving.settings import ServingSettings
from tests.serving.tiny_checkpoint import write_tiny_checkpoint

# The published models' own numbers.
QWEN3_30B: dict[str, Any] = {
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_position_embeddings": 40960,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
DEEPSEEK_R1: dict[str, Any] = {
    "attention_bias": False,
    "eos_token_id": 1,
    "ep_size": 1,
    "first_k_dense_replace": 3,
    "hidden_act": "silu",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
    },
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "v_head_dim": 128,
    "vocab_size": 129280,
}


def read(directory: Path, data: dict[str, Any]) -> ModelConfig:
    (directory / "config.json").write_text(json.dumps(data))
    return read_model_config(directory)


def test_the_published_qwen3_model_is_understood(tmp_path: Path) -> None:
    config = read(tmp_path, QWEN3_30B)
    assert config.expert_layers == tuple(range(48))
    assert config.rope == Rope(1_000_000.0, 128)
    assert config.attention.cache_width == 2 * 4 * 128
    assert (config.window, config.fp8_block, config.eos_ids) == (40960, None, (151645,))


def test_the_published_deepseek_model_is_understood(tmp_path: Path) -> None:
    config = read(tmp_path, DEEPSEEK_R1)
    assert config.expert_layers == tuple(range(3, 61))
    assert config.rope == Rope(10_000.0, 64, Yarn(40, 4096, 32, 1, True, 1.0, pytest.approx(1.3688879**2)))
    assert config.attention.cache_width == 512 + 64
    assert (config.routing.groups, config.routing.groups_per_token, config.fp8_block) == (8, 4, (128, 128))


def model_or_value(value: Any) -> str:
    return str(value.get("model_type", value) if isinstance(value, dict) else value)


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (QWEN3_30B, {"attention_bias": True}, "attention_bias"),
    (QWEN3_30B, {"hidden_act": "gelu"}, "hidden_act"),
    (QWEN3_30B, {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_scaling"),
    (QWEN3_30B, {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "rope_type"),
    (QWEN3_30B, {"rope_parameters": {"full_attention": {"rope_theta": 500.0}}}, "rope_parameters"),
    (QWEN3_30B, {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    (QWEN3_30B, {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config.quant_method"),
    (DEEPSEEK_R1, {"quantization_config": {"quant_method": "fp8", "fmt": "e5m2"}}, "quantization_config.fmt"),
    (DEEPSEEK_R1, {"scoring_func": "softmax"}, "scoring_func"),
    (DEEPSEEK_R1, {"topk_method": "greedy"}, "topk_method"),
    (DEEPSEEK_R1, {"moe_layer_freq": 2}, "moe_layer_freq"),
]


@pytest.mark.parametrize(("model", "changes", "field"), REFUSED, ids=model_or_value)
def test_what_is_not_served_is_refused_by_its_field(
    tmp_path: Path, model: dict[str, Any], changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(CheckpointError, match=f"sets {field} to a value that is not served") as caught:
        read(tmp_path, model | changes)
    assert "\n" not in str(caught.value)


MISSTATED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (QWEN3_30B, {"num_experts": None}),
    (QWEN3_30B, {"num_experts": 0}),
    (QWEN3_30B, {"num_experts": "many"}),
    (QWEN3_30B, {"num_experts_per_tok": 129}),
    (QWEN3_30B, {"num_key_value_heads": 5}),
    (QWEN3_30B, {"num_hidden_layers": True}),
    (QWEN3_30B, {"head_dim": 127}),
    (QWEN3_30B, {"rope_theta": -1}),
    (QWEN3_30B, {"rope_theta": float("inf")}),
    (QWEN3_30B, {"rope_theta": 1, "rope_scaling": {"type": "yarn", "factor": 2.0}}),
    (QWEN3_30B, {"rope_scaling": "yarn"}),
    (QWEN3_30B, {"norm_topk_prob": "yes"}),
    (QWEN3_30B, {"mlp_only_layers": ["first"]}),
    (QWEN3_30B, {"eos_token_id": "<|im_end|>"}),
    (QWEN3_30B, {"quantization_config": {"quant_method": "fp8"}}),
    (DEEPSEEK_R1, {"kv_lora_rank": None}),
    (DEEPSEEK_R1, {"q_lora_rank": 0}),
    (DEEPSEEK_R1, {"n_group": 7}),
    (DEEPSEEK_R1, {"n_group": 256}),
    (DEEPSEEK_R1, {"topk_group": 9}),
    (DEEPSEEK_R1, {"n_group": 128, "topk_group": 2}),
]


@pytest.mark.parametrize(("model", "changes"), MISSTATED, ids=model_or_value)
def test_impossible_numbers_are_refused_in_one_sentence(
    tmp_path: Path, model: dict[str, Any], changes: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match="misstates a field") as caught:
        read(tmp_path, model | changes)
    assert "\n" not in str(caught.value)


def test_a_foreign_family_is_told_which_are_served(tmp_path: Path) -> None:
    for foreign in ("mixtral", None, ["qwen3_moe"]):
        with pytest.raises(CheckpointError, match="served are afmoe, deepseek_v3 and qwen3_moe"):
            read(tmp_path, QWEN3_30B | {"model_type": foreign})


@pytest.mark.parametrize("family", FAMILIES)
def test_what_transformers_wrote_passes_all_checks_before_a_start(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family)
    checkpoint = verify(ServingSettings(checkpoint=directory))
    assert checkpoint == open_checkpoint(directory)
    assert checkpoint.config.model_type == family
    assert checkpoint.config.expert_layers == (1, 2)
