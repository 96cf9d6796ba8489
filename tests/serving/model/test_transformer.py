"""The network gives transformers' logits for every feature of the formats that it serves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from serving.model.batch import build_batch
from tests.serving.model.one_rank import BLOCK, TEXT, chunks_of, logits_in_chunks, open_model
from tests.serving.tiny_checkpoint import FAMILIES, reference_logits, write_tiny_checkpoint

YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 16}
UNROUNDED_YARN = YARN | {"rope_theta": 10.0, "attention_factor": 0.8, "beta_fast": 8, "truncate": False}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("afmoe", {}),
    ("afmoe", {"mup_enabled": False}),
    ("afmoe", {"tie_word_embeddings": True}),
    ("afmoe", {"num_shared_experts": 2}),
    ("afmoe", {"num_experts_per_tok": 3, "route_scale": 0.7}),
    ("afmoe", {"num_key_value_heads": 4}),
    ("afmoe", {"num_key_value_heads": 1}),
    ("afmoe", {"num_dense_layers": 0}),
    ("afmoe", {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"], "sliding_window": 256}),
    ("afmoe", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rms_norm_eps": 1e-3}),
    ("qwen3_moe", {}),
    ("qwen3_moe", {"norm_topk_prob": False, "num_experts_per_tok": 3}),
    ("qwen3_moe", {"mlp_only_layers": [], "decoder_sparse_step": 2}),
    ("qwen3_moe", {"mlp_only_layers": [], "tie_word_embeddings": True, "num_key_value_heads": 4}),
    ("qwen3_moe", {"use_sliding_window": True, "sliding_window": 24}),
    ("qwen3_moe", {"rope_parameters": YARN}),
    (
        "qwen3_moe",
        {"rope_parameters": YARN | {"rope_theta": 10.0, "attention_factor": 0.8, "beta_fast": 8, "truncate": False}},
    ),
    ("deepseek_v3", {}),
    ("deepseek_v3", {"q_lora_rank": None}),
    ("deepseek_v3", {"kv_lora_rank": 8}),
    ("deepseek_v3", {"rope_interleave": False}),
    ("deepseek_v3", {"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    ("deepseek_v3", {"rope_scaling": None, "rope_parameters": YARN}),
    ("deepseek_v3", {"n_group": 1, "topk_group": 1, "norm_topk_prob": False, "routed_scaling_factor": 0.6}),
    ("deepseek_v3", {"n_group": 2, "topk_group": 1, "num_experts_per_tok": 4}),
    ("deepseek_v3", {"n_shared_experts": 2, "first_k_dense_replace": 0, "rms_norm_eps": 1e-3}),
]


@pytest.mark.parametrize(("family", "changes"), VARIANTS, ids=str)
def test_logits_are_those_of_transformers(tmp_path: Path, family: str, changes: dict[str, Any]) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family, **changes)
    expected = reference_logits(directory, TEXT)
    for chunks in ([60], [23, 1, 30, 6], [40] + [1] * 20):
        assert (logits_in_chunks(directory, chunks) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_weights_are_computed_in_fp32(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", dtype=torch.bfloat16, family=family)
    assert (logits_in_chunks(directory, [60]) - reference_logits(directory, TEXT)).abs().max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sequence_does_not_see_its_neighbours_or_what_blocks_held_before(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family)
    model, window = open_model(directory)
    tokens = torch.tensor(TEXT[:12])
    with torch.inference_mode():
        dirty = build_batch(torch.tensor(TEXT[20:52]), chunks_of((0, 32, range(8))), BLOCK, window, (32,))
        model.forward(dirty)
        both = torch.cat((tokens, torch.tensor(TEXT[30:37])))
        chunks = chunks_of((0, 12, (2, 0, 1)), (0, 7, (5, 3)))
        beside = model.logits(model.forward(build_batch(both, chunks, BLOCK, window, (19,))).hidden)
    assert (beside[:12] - reference_logits(directory, TEXT[:12])).abs().max() < 1e-4
    assert (beside[12:] - reference_logits(directory, TEXT[30:37])).abs().max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_gate_entropies_are_summed_over_every_expert_layer(tmp_path: Path, family: str) -> None:
    directory = write_tiny_checkpoint(tmp_path / "checkpoint", family=family)
    model, window = open_model(directory)
    with torch.inference_mode():
        batch = build_batch(torch.tensor(TEXT[:8]), chunks_of((0, 8, (0, 1))), BLOCK, window, (8,))
        found = model.forward(batch).gate_entropy
    assert found.shape == (8,)
    assert ((found > 0) & (found < 2 * math.log(8))).all()  # two layers of eight experts
    if family == "qwen3_moe":
        oracle = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        with torch.inference_mode():
            logits = oracle(torch.tensor([TEXT[:8]]), output_router_logits=True).router_logits
        shares = torch.stack([torch.softmax(layer.view(8, 8).double(), 1) for layer in logits])
        torch.testing.assert_close(found.double(), -(shares * shares.log()).sum((0, 2)), atol=1e-4, rtol=1e-4)
