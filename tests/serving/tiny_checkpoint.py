"""Writes a tiny random `afmoe` checkpoint with transformers, and asks transformers what its logits are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AfmoeConfig, AfmoeForCausalLM

from training.tokens import ASSISTANT, BOS, EOS, PAD, USER, VOCAB_SIZE, build_tokenizer

CONTEXT = 256


def write_tiny_checkpoint(directory: Path, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """Sliding layers with a window shorter than the context, a full one, 8 experts, everything random."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_dense_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": CONTEXT,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_shared_experts": 1,
        "route_scale": 1.5,
        "sliding_window": 24,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "mup_enabled": True,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    model = AfmoeForCausalLM(AfmoeConfig(**(shape | changes)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("expert_bias"):
                parameter.uniform_(-0.3, 0.3)
            elif name == "lm_head.weight":
                parameter.normal_(0, 0.7)
                parameter[PAD : USER + 2] = -1.0  # a role token would end most answers at once
            else:
                parameter.normal_(0, 0.3)
    model.to(dtype).save_pretrained(directory)
    build_tokenizer().save(str(directory / "tokenizer.json"))
    return directory


def reference_logits(directory: Path, ids: list[int]) -> torch.Tensor:
    """[tokens, vocab] of transformers in fp32, one plain pass."""
    model = AfmoeForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return logits


def some_prompt(length: int, seed: int = 0) -> list[int]:
    """Random bytes framed as a chat, `length` tokens."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(32, 127, (length - 3,), generator=generator).tolist()
    return [BOS, USER, *text, ASSISTANT]
