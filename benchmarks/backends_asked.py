"""The questions that both backends and transformers are asked, and the tiny random checkpoints that answer them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.engine.generation import GenerationRequest, Message

TOKENS = 24
TOP = 5
NATIVE, FOREIGN = "qwen3_moe", "llama"  # a family that our own engine knows, and one that it does not
_QUESTIONS = (
    "What is 12 + 30?",
    "A train leaves at nine and takes three hours. When does it arrive? Answer with a time of day, please.",
    "hi",
    "Please say how many apples are left when seven of twelve are eaten, and how many of those that are left would "
    "be left if half of them were given away: first the one number, then the other.",
)


def requests() -> list[GenerationRequest]:
    """Greedy ones."""
    return [
        GenerationRequest(
            f"asked-{place}", (Message("user", text),), max_tokens=TOKENS, temperature=0.0, top_logprobs=TOP
        )
        for place, text in enumerate(_QUESTIONS)
    ]


def write_checkpoints(directory: Path) -> dict[str, Path]:
    """By family; heads of 32, the smallest that vLLM's attention takes on CPUs."""
    from tests.serving.tiny_checkpoint import write_tiny_checkpoint

    native = directory / NATIVE
    if not (native / "config.json").exists():
        write_tiny_checkpoint(
            native, family=NATIVE, head_dim=32, hidden_size=64, intermediate_size=96, moe_intermediate_size=32
        )
    foreign = directory / FOREIGN
    if not (foreign / "config.json").exists():
        write_foreign(foreign, _llama)
    return {NATIVE: native, FOREIGN: foreign}


def write_foreign(directory: Path, made: Callable[[dict[str, Any]], Any], seed: int = 2) -> None:
    """A random network of transformers with our tokenizer and role tokens."""
    import torch

    from training.tokens import BOS, EOS, PAD, USER, VOCAB_SIZE, build_tokenizer

    torch.manual_seed(seed)
    model = made({"vocab_size": VOCAB_SIZE, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD})
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("norm.weight"):
                tensor.uniform_(0.5, 1.5)
            elif name == "lm_head.weight":
                tensor.normal_(0, 0.7)
                tensor[PAD : USER + 2] = -1.0  # a role token would end most answers at once
            else:
                tensor.normal_(0, 0.2)
    model.save_pretrained(directory)
    build_tokenizer().save(str(directory / "tokenizer.json"))


def _llama(tokens: dict[str, Any]) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    return LlamaForCausalLM(LlamaConfig(**tokens, **sizes, **heads))
