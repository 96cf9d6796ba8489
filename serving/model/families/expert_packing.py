"""Reads from config.json whether and how experts are packed to 4 bits, whatever the family."""

from __future__ import annotations

from serving.model.families.fields import Fields
from serving.model.packing import METHOD, SIZES, ExpertPacking, Grouping


def read_expert_packing(fields: Fields) -> ExpertPacking | None:
    """None: experts are floats like the rest, or quantised in another way. Raises ValueError for a misstated scheme."""
    how = fields.below("quantization_config")
    if how.get("quant_method") != METHOD:
        return None
    if how.count("bits") != 4:
        raise ValueError(f"quantization_config.bits must be 4, not {how.get('bits')!r}")
    return ExpertPacking(_grouping(how, "gate_up_proj"), _grouping(how, "down_proj"))


def _grouping(how: Fields, name: str) -> Grouping:
    part = how.below(name)
    size = part.count("group_size")
    if size not in SIZES or part.get("zeros") is None:
        raise ValueError(f"quantization_config.{name} needs a group_size of {SIZES} and zeros true or false")
    return Grouping(size, part.flag("zeros"))
