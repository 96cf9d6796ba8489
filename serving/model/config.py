"""Knows the shape of an `afmoe` model as its config.json tells it; imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class CheckpointError(Exception):
    """A checkpoint directory cannot be served; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The numbers of an `afmoe` network; layers from `dense_layers` on hold experts."""

    vocab_size: int
    hidden_size: int
    layers: int
    dense_layers: int
    heads: int
    kv_heads: int
    head_dim: int
    dense_size: int
    expert_size: int
    experts: int
    experts_per_token: int
    shared_experts: int
    route_scale: float
    norm_eps: float
    rope_theta: float
    context_length: int
    sliding: tuple[bool, ...]  # per layer: sliding window and rotary positions, or full attention and none
    window: int
    embedding_scale: float  # sqrt(hidden_size) under muP, else 1
    tied_head: bool
    eos_ids: tuple[int, ...]
    name: str | None

    @property
    def expert_layers(self) -> range:
        return range(self.dense_layers, self.layers)


def read_model_config(directory: Path) -> ModelConfig:
    """Raises CheckpointError for a missing directory, another architecture or a feature we do not serve.

    Not served: scaled rotary positions, attention biases, activations other than silu, and routing other than
    transformers' own for this architecture (sigmoid scores, one group of experts, weights normalised).
    """
    if not directory.is_dir():
        raise CheckpointError(f"There is no checkpoint directory {directory}: set COUNTERSIGN_CHECKPOINT to one.")
    data = read_json(directory / "config.json")
    if data.get("model_type") != "afmoe":
        found = data.get("model_type")
        raise CheckpointError(f"{directory} holds a {found!r} model, not an 'afmoe' one: choose an afmoe checkpoint.")
    _refuse_unserved(data, directory)
    try:
        return _from_json(data)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{directory}/config.json misstates a field ({error}): export it again.") from error


def read_json(path: Path) -> dict[str, Any]:
    """Raises CheckpointError when the file is missing or holds no JSON object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): point to a whole checkpoint.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: export the checkpoint again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no JSON object: export the checkpoint again.")
    return data


def _refuse_unserved(data: dict[str, Any], directory: Path) -> None:
    rope, scaling = data.get("rope_parameters") or {}, data.get("rope_scaling") or {}  # scaling: its older name
    refused = {
        "rope_type": rope.get("rope_type", "default") != "default",
        "rope_scaling": scaling.get("rope_type", scaling.get("type", "default")) != "default",
        "attention_bias": bool(data.get("attention_bias")),
        "hidden_act": data.get("hidden_act", "silu") != "silu",
        "score_func": data.get("score_func", "sigmoid") != "sigmoid",
        "n_group": data.get("n_group", 1) not in (None, 1),
        "num_expert_groups": data.get("num_expert_groups", 1) not in (None, 1),
        "route_norm": data.get("route_norm", True) is not True,
    }
    for field, foreign in refused.items():
        if foreign:
            raise CheckpointError(
                f"{directory}/config.json sets {field} to a value that is not served here: choose another checkpoint."
            )


def _from_json(data: dict[str, Any]) -> ModelConfig:
    layers, hidden = _count(data, "num_hidden_layers"), _count(data, "hidden_size")
    heads = _count(data, "num_attention_heads")
    every = int(data.get("global_attn_every_n_layers") or 4)
    kinds = data.get("layer_types") or [
        "sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)
    ]
    if len(kinds) != layers:
        raise ValueError("layer_types must name one kind for each layer")
    rope = data.get("rope_parameters") or {}
    return ModelConfig(
        vocab_size=_count(data, "vocab_size"),
        hidden_size=hidden,
        layers=layers,
        dense_layers=int(data.get("num_dense_layers", 1)),
        heads=heads,
        kv_heads=int(data.get("num_key_value_heads") or heads),
        head_dim=int(data.get("head_dim") or hidden // heads),
        dense_size=_count(data, "intermediate_size"),
        expert_size=_count(data, "moe_intermediate_size"),
        experts=_count(data, "num_experts"),
        experts_per_token=_count(data, "num_experts_per_tok"),
        shared_experts=int(data.get("num_shared_experts") or 0),
        route_scale=float(data.get("route_scale", 1.0)),
        norm_eps=float(data.get("rms_norm_eps", 1e-5)),
        rope_theta=float(rope.get("rope_theta", data.get("rope_theta", 10_000.0))),
        context_length=_count(data, "max_position_embeddings"),
        sliding=tuple(kind == "sliding_attention" for kind in kinds),
        window=int(data.get("sliding_window") or _count(data, "max_position_embeddings")),
        embedding_scale=hidden**0.5 if data.get("mup_enabled") else 1.0,
        tied_head=bool(data.get("tie_word_embeddings", False)),
        eos_ids=_ids(data.get("eos_token_id")),
        name=data.get("name"),
    )


def _count(data: dict[str, Any], field: str) -> int:
    value = data.get(field)
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{field} must be a positive integer, not {value!r}")
    return value


def _ids(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(int(item) for item in value) if isinstance(value, list) else (int(str(value)),)
