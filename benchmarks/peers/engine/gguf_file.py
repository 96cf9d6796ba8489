"""Writes a Qwen3-MoE checkpoint as a GGUF file in fp32, as llama.cpp reads it; its tokens have no text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from safetensors.numpy import load_file

Floats = npt.NDArray[np.float32]

_WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_OF_LAYERS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate": "ffn_gate_inp",
}


def write(checkpoint: Path, file: Path) -> None:
    """Layers that all hold experts whose weights are normalised: all that the architecture knows."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(file, "qwen3moe")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_count(config["num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    tensors = load_file(checkpoint / "model.safetensors")
    for name, tensor in _named(tensors, config["num_hidden_layers"], config["num_experts"]):
        writer.add_tensor(name, tensor, raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _named(tensors: dict[str, Floats], layers: int, experts: int) -> Iterator[tuple[str, Floats]]:
    """With their names in GGUF; a layer's experts are one tensor [experts, out, in] for each of their matrices."""
    for name, theirs in _WHOLE.items():
        yield theirs, tensors[name]
    for layer in range(layers):
        for name, theirs in _OF_LAYERS.items():
            yield f"blk.{layer}.{theirs}.weight", tensors[f"model.layers.{layer}.{name}.weight"]
        for part in ("gate", "up", "down"):
            names = [f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight" for expert in range(experts)]
            yield f"blk.{layer}.ffn_{part}_exps.weight", np.stack([tensors[name] for name in names])
