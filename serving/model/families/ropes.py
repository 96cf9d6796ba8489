"""Reads how positions turn queries and keys; the field is `rope_parameters`, or `rope_scaling` in older files."""

from __future__ import annotations

import math

from serving.model.config import Rope, Yarn
from serving.model.families.fields import Fields

_THETA, _FAST, _SLOW = 10_000.0, 32.0, 1.0  # transformers' own defaults


def read_rope(fields: Fields, dims: int, context: int, *, scaled: bool = True) -> Rope:
    """`dims` of each head are turned, in a model for `context` tokens; `scaled`: whether YaRN is served.

    Raises CheckpointError for what is not served, ValueError for impossible numbers.
    """
    spelt = "rope_scaling" if fields.get("rope_scaling") else "rope_parameters"
    rope = fields.below(spelt)
    kind = rope.get("rope_type", "type") or "default"
    served = ("default", "yarn") if scaled else ("default",)
    partial = (rope.get("partial_rotary_factor"), fields.get("partial_rotary_factor"))
    fields.refuse(
        {
            spelt: rope.has_objects or (spelt == "rope_scaling" and kind not in served),  # objects: one for each layer
            "rope_type": kind not in served,
            "partial_rotary_factor": any(part not in (None, 1) for part in partial),
        }
    )
    if dims % 2:
        raise ValueError(f"the size of a head's turned part must be even, not {dims}")
    theta = rope.number("rope_theta", fields.number("rope_theta", _THETA))
    if kind != "yarn":
        return Rope(theta, dims)
    if theta <= 1:
        raise ValueError(f"rope_theta must be more than 1, not {theta:g}")
    return Rope(theta, dims, _read_yarn(fields, rope, context))


def _read_yarn(fields: Fields, rope: Fields, context: int) -> Yarn:
    beside = fields.get("original_max_position_embeddings") is not None
    trained = (fields if beside else rope).count("original_max_position_embeddings", default=context)
    factor = rope.number("factor", context / trained)
    cosines, everywhere = (rope.number(name, 1.0) if rope.get(name) else None for name in ("mscale", "mscale_all_dim"))
    if cosines and everywhere:
        amplitude = _amplitude(factor, cosines) / _amplitude(factor, everywhere)
    else:
        amplitude = _amplitude(factor)
    return Yarn(
        factor=factor,
        context=trained,
        fast=rope.number("beta_fast", _FAST),
        slow=rope.number("beta_slow", _SLOW),
        whole=rope.flag("truncate", True),
        amplitude=rope.number("attention_factor", amplitude),
        key_scale=_amplitude(factor, everywhere) ** 2 if everywhere else 1.0,
    )


def _amplitude(factor: float, strength: float = 1.0) -> float:
    """How much larger attention's scores are made for a context that is longer by `factor` (YaRN, equation 22)."""
    return 1.0 if factor <= 1 else 0.1 * strength * math.log(factor) + 1.0
