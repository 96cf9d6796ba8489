"""Says what a served network computes, in terms that hold for every family of models; imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from serving.model.packing import ExpertPacking


class CheckpointError(Exception):
    """A checkpoint directory cannot be served; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Yarn:
    """Frequencies that turn seldom within `context` are slowed by `factor`, those that turn often are kept."""

    factor: float
    context: int  # tokens the model was trained with before it was extended
    fast: float  # turns within the context from which on a frequency is kept
    slow: float  # turns within the context below which it is slowed by the whole factor
    whole: bool  # bounds of the ramp between the two are rounded to whole dimensions
    amplitude: float  # of cosines and sines
    key_scale: float  # by which DeepSeek's models multiply queries times keys, beside their usual scale


@dataclass(frozen=True, slots=True)
class Rope:
    theta: float
    dims: int  # of each head that are turned by its position
    yarn: Yarn | None = None


@dataclass(frozen=True, slots=True)
class GroupedShape:
    """Groups of query heads share a key head; queries and keys are normed head by head."""

    heads: int
    kv_heads: int
    head_dim: int
    output_gate: bool  # a sigmoid gate on what the heads found
    sliding: tuple[bool, ...]  # per layer: sees the last `window` tokens only
    rotary: tuple[bool, ...]  # per layer: queries and keys are turned by their positions

    @property
    def cache_width(self) -> int:
        """Numbers kept of a token in each layer: its keys, then its values."""
        return 2 * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class LatentShape:
    """Keys and values of all heads come from one short vector of the token and one key that is turned (MLA)."""

    heads: int
    query_rank: int | None  # None: queries are made straight from the hidden state
    kv_rank: int
    plain_dims: int  # of a head's query and key that are not turned
    rotary_dims: int
    value_dims: int
    interleaved: bool  # turned pairs are neighbours in the checkpoint, rather than half a head apart
    scale: float  # of queries times keys

    @property
    def cache_width(self) -> int:
        """Numbers kept of a token in each layer: the short vector, then the turned key."""
        return self.kv_rank + self.rotary_dims


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """How a token's experts are chosen and weighed."""

    scores: Literal["sigmoid", "softmax"]
    normalised: bool  # the weights of a token's experts sum to `scale`
    scale: float
    groups: int = 1  # of neighbouring experts
    groups_per_token: int = 1  # experts are chosen among those of a token's best groups


@dataclass(frozen=True, slots=True)
class TensorNames:
    """Where families name the same tensor differently, below `model.layers.N.`; None: there is no such tensor."""

    before_attention: str
    after_attention: str | None
    before_mlp: str
    after_mlp: str | None
    gate: str
    gate_bias: str | None  # chooses experts and does not weigh them


@dataclass(frozen=True, slots=True)
class ModelConfig:
    model_type: str  # the family
    vocab_size: int
    hidden_size: int
    layers: int
    expert_layers: tuple[int, ...]
    dense_size: int
    expert_size: int
    experts: int
    experts_per_token: int
    shared_experts: int
    routing: RoutingRule
    attention: GroupedShape | LatentShape
    rope: Rope
    norm_eps: float
    context_length: int
    window: int
    embedding_scale: float
    tied_head: bool
    fp8_block: tuple[int, int] | None  # rows and columns that share a scale, of tensors stored in 8-bit floats
    packing: ExpertPacking | None  # None: experts are floats like the rest
    names: TensorNames
    eos_ids: tuple[int, ...]
    name: str | None


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
