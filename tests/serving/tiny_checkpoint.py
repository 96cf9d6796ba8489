"""Writes tiny random checkpoints of every family with transformers, and asks transformers what their logits are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AfmoeConfig,
    AfmoeForCausalLM,
    AutoModelForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from training.tokens import ASSISTANT, BOS, EOS, PAD, USER, VOCAB_SIZE, build_tokenizer

CONTEXT = 256
FAMILIES = ("afmoe", "qwen3_moe", "deepseek_v3")

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}
_GROUPED = {"num_key_value_heads": 2, "head_dim": 8, "num_experts": 8, "num_experts_per_tok": 2}
_AFMOE: dict[str, Any] = _GROUPED | {  # sliding layers with a window shorter than the context, and a full one
    "num_dense_layers": 1,
    "num_shared_experts": 1,
    "route_scale": 1.5,
    "sliding_window": 24,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    "mup_enabled": True,
}
_QWEN3_MOE: dict[str, Any] = _GROUPED | {"mlp_only_layers": [0], "norm_topk_prob": True}
_DEEPSEEK_V3: dict[str, Any] = {  # YaRN and groups of experts as in the published model, in small
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 12,
    "rope_scaling": {
        "type": "yarn",
        "factor": 8,
        "original_max_position_embeddings": 32,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 0.7,
        "mscale_all_dim": 1.0,
    },
}


def write_tiny_checkpoint(
    directory: Path,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    family: str = "afmoe",
    shard: str = "1GB",
    **changes: Any,
) -> Path:
    """Three layers, the first one dense, 8 experts, everything random; files of at most `shard`."""
    torch.manual_seed(seed)
    model = _random_model(family, changes)
    spread = 0.3 if family == "afmoe" else 0.2  # without norms behind each part, fp32's own rounding grows with it
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("norm.weight"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("expert_bias", "e_score_correction_bias")):
                tensor.uniform_(-0.3, 0.3)
            elif name == "lm_head.weight":
                tensor.normal_(0, 0.7)
                tensor[PAD : USER + 2] = -1.0  # a role token would end most answers at once
            elif not name.endswith("inv_freq"):
                tensor.normal_(0, spread)
    model.to(dtype).save_pretrained(directory, max_shard_size=shard)
    build_tokenizer().save(str(directory / "tokenizer.json"))
    return directory


def _random_model(family: str, changes: dict[str, Any]) -> Any:
    if family == "qwen3_moe":
        return Qwen3MoeForCausalLM(Qwen3MoeConfig(**(_COMMON | _QWEN3_MOE | changes)))
    if family == "deepseek_v3":
        return DeepseekV3ForCausalLM(DeepseekV3Config(**(_COMMON | _DEEPSEEK_V3 | changes)))
    return AfmoeForCausalLM(AfmoeConfig(**(_COMMON | _AFMOE | changes)))


def reference_logits(directory: Path, ids: list[int]) -> torch.Tensor:
    """[tokens, vocab] of transformers in fp32, one plain pass."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return logits


def some_prompt(length: int, seed: int = 0) -> list[int]:
    """Random bytes framed as a chat, `length` tokens."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(32, 127, (length - 3,), generator=generator).tolist()
    return [BOS, USER, *text, ASSISTANT]
