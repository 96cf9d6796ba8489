"""Shows a plan: as tables for people, as one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from serving.planning.devices import GIB, Fleet
from serving.planning.layout import Layout, PlannedLoad
from serving.planning.shape import ModelShape

SHOWN = 4  # layouts


def as_json(shape: ModelShape, fleet: Fleet, found: Sequence[Layout], wanted: PlannedLoad) -> dict[str, Any]:
    """Bytes and seconds; layouts best first. `batch` is the one asked for: a layout's own is less where it is cut."""
    told = [{**asdict(each), "fits": each.fits} for each in found]
    model = {"parameters": shape.total, "active_parameters": shape.active, "layers": shape.layers}
    devices = {"name": fleet.device.name, "count": fleet.count, "of_node": fleet.of_node}
    asked = {"context": wanted.context, "batch": wanted.batch, "spare_experts": wanted.spare_experts}
    return {"model": model, "devices": devices, **asked, "layouts": told}


def show(shape: ModelShape, fleet: Fleet, found: Sequence[Layout], experts: str, wanted: PlannedLoad) -> None:
    console, best = Console(width=110), found[0]
    console.print(
        f"{shape.total / 1e9:.4g} B parameters, {shape.active / 1e9:.3g} B of them for a token; {shape.layers} layers, "
        f"{shape.expert_layers} with {shape.experts} experts of which a token takes {shape.experts_per_token}; "
        f"experts as {experts}, all else as bf16; {fleet.count} x {fleet.device.name}.",
        highlight=False,
    )
    if not best.fits:
        lacking = (best.held - (best.held + best.cache_bytes)) / GIB if best.cache_bytes < 0 else 0.0
        told = (
            f"a rank lacks {lacking:.1f} GiB" if lacking else f"no sequence of {wanted.context} tokens fits the cache"
        )
        advice = "more or larger devices" if experts == "int4" else "more or larger devices, or --experts int4"
        console.print(f"It does not fit: {told} in the best of {len(found)} layouts. Take {advice}.", highlight=False)
        return
    shown = [layout for layout in found if layout.fits][:SHOWN]
    console.print(_summary(shown))
    if wanted.batch is not None and any(each.batch < wanted.batch for each in shown):
        console.print(
            f"Where the batch is less than the {wanted.batch:,} asked for, the cache holds no more.", highlight=False
        )
    console.print(_placement(best, fleet, shape))
    console.print(
        "Predicted from data sheets by the cost model of serving/planning/cost.py, for a fleet that does nothing else. "
        "Our engine itself runs on processors so far, in fp32, with at most 16 stages and 16 ranks.",
        style="dim",
        highlight=False,
    )


def _summary(shown: Sequence[Layout]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("stages x ranks", "weights GiB", "cache GiB", "cache tokens", "batch", "tokens/s", "ms a token"):
        table.add_column(name, justify="right")
    for each in shown:
        table.add_row(
            f"{each.stages} x {each.ranks}",
            f"{each.held / GIB:.1f}",
            f"{each.cache_bytes / GIB:.1f}",
            f"{each.cache_tokens:,}",
            f"{each.batch:,}",
            f"{each.tokens_per_second:,.0f}",
            f"{each.token_seconds * 1e3:.1f}",
        )
    return table


def _placement(best: Layout, fleet: Fleet, shape: ModelShape) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"{best.stages} x {best.ranks}", title_justify="left")
    for name in ("stage", "layers", "rank", "node", "experts of each layer"):
        table.add_column(name)
    layer = 0
    for stage, layers in enumerate(best.layers):
        expert = 0
        for rank, experts in enumerate(best.experts):
            place = stage * best.ranks + rank
            table.add_row(
                str(stage) if rank == 0 else "",
                f"{layer} to {layer + layers - 1}" if rank == 0 else "",
                str(rank),
                str(place // fleet.of_node),
                f"{expert} to {expert + experts - 1}" if shape.experts else "-",
            )
            expert += experts
        layer += layers
    return table
