"""Makes the checkpoint on which engines are compared: a random Qwen3-MoE of 26 M parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from training.tokens import BOS, EOS, PAD, VOCAB_SIZE, build_tokenizer

_HEAD = 2.0  # standard deviation of logits: best and second best are mostly far apart, and no token wins everywhere


@dataclass(frozen=True, slots=True)
class Shape:
    vocabulary: int = 512
    layers: int = 4
    hidden: int = 256
    experts: int = 64
    expert_size: int = 128
    experts_per_token: int = 2
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 32
    context: int = 4096  # tokens

    @property
    def parameters(self) -> int:
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads) + 2 * self.head_dim
        mixture = self.experts * self.hidden * (3 * self.expert_size + 1)
        layer = attention + mixture + 2 * self.hidden
        return self.layers * layer + 2 * self.vocabulary * self.hidden + self.hidden


def make(directory: Path, seed: int = 0, shape: Shape | None = None) -> Path:
    """Write config.json, generation_config.json, tokenizer.json and fp32 weights; the same bytes for the same seed.

    No answer ends by itself: the tokens that would end one have a logit of 0, which is never the best.
    """
    shape = shape or Shape()
    directory.mkdir(parents=True, exist_ok=True)
    save_file(dict(_weights(shape, seed)), directory / "model.safetensors", {"format": "pt"})
    build_tokenizer().save(str(directory / "tokenizer.json"))
    for name, content in (("generation_config", _generation_config()), ("config", _config(shape))):
        (directory / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return directory


def _weights(shape: Shape, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Rows keep the size of what they are given, so that every layer counts and experts are chosen evenly."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(rows: int, width: int, gain: float = 1.0) -> Tensor:
        return torch.randn(rows, width, generator=generator).mul_(gain / width**0.5)

    hidden, size = shape.hidden, shape.expert_size
    yield "model.embed_tokens.weight", drawn(shape.vocabulary, hidden, hidden**0.5)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}{norm}.weight", torch.ones(hidden)
        for part, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
            yield f"{prefix}self_attn.{part}_proj.weight", drawn(heads * shape.head_dim, hidden)
        yield f"{prefix}self_attn.o_proj.weight", drawn(hidden, shape.heads * shape.head_dim)
        for norm in ("q_norm", "k_norm"):
            yield f"{prefix}self_attn.{norm}.weight", torch.ones(shape.head_dim)
        yield f"{prefix}mlp.gate.weight", drawn(shape.experts, hidden)
        for expert in range(shape.experts):
            for part, rows, width in (("gate", size, hidden), ("up", size, hidden), ("down", hidden, size)):
                yield f"{prefix}mlp.experts.{expert}.{part}_proj.weight", drawn(rows, width)
    yield "model.norm.weight", torch.ones(hidden)
    head = drawn(shape.vocabulary, hidden, _HEAD)
    head[PAD:VOCAB_SIZE] = 0.0
    yield "lm_head.weight", head


def _config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3MoeForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "decoder_sparse_step": 1,
        "dtype": "float32",
        "eos_token_id": EOS,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": 4 * shape.expert_size,  # of dense layers; there are none
        "max_position_embeddings": shape.context,
        "mlp_only_layers": [],
        "model_type": "qwen3_moe",
        "moe_intermediate_size": shape.expert_size,
        "norm_topk_prob": True,  # as the published models; llama.cpp knows no other
        "num_attention_heads": shape.heads,
        "num_experts": shape.experts,
        "num_experts_per_tok": shape.experts_per_token,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "pad_token_id": PAD,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_theta": 10_000.0, "rope_type": "default"},
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": shape.vocabulary,
    }


def _generation_config() -> dict[str, Any]:
    return {"bos_token_id": BOS, "do_sample": False, "eos_token_id": EOS, "pad_token_id": PAD}
