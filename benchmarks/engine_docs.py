"""Writes the engine's figures as a page of tables, with two plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks.engine_marks import Mark, measured
from benchmarks.engine_plots import draw_cost, draw_rates

Figures = Mapping[str, Any]
PAGE = "engine-figures.md"
_ANY_SPEED = 1e4  # GFLOP/s; no core multiplies as fast
COST, PEERS = "figures/engine-cost.png", "figures/engine-peers.png"


def write(figures: Figures, docs: Path) -> None:
    """The page and the plots of what was measured; files of the same names are replaced."""
    (docs / "figures").mkdir(parents=True, exist_ok=True)
    about = f"{figures['machine']['processor']}, one thread a rank"
    if "cost" in figures:
        draw_cost(docs / COST, figures["cost"], about)
    if "peers" in figures:
        draw_rates(
            docs / PEERS, figures["own"], figures["peers"], f"{figures['machine']['processor']}, one thread each"
        )
    (docs / PAGE).write_text("\n".join(page(figures)) + "\n", encoding="utf-8")


def page(figures: Figures) -> Iterator[str]:
    """Line by line; a part that was not measured has no section."""
    machine = figures["machine"]
    load = ", ".join(f"{name} {averages[0]:g}" for name, averages in figures["load"].items())
    yield "# The engine: what was measured\n"
    yield _told(
        "Written by `./run bench engine --peers --write-docs docs`; the code that measures explains the words.",
        f"{machine['processor']}, {machine['cores']} cores shared with others, {machine['memory_gib']} GiB, no GPU;",
        f"Python {machine['python']}, torch {machine['versions']['torch']}. Load when each part began: {load}.",
        "How steady some of it is from run to run: [figures.md](figures.md#the-engine-run-bench-engine---peers).",
    )
    yield "\n## Marks\n"
    yield from _table(("figure", "measured", "mark", ""), [_mark_row(mark, figures) for mark in measured(figures)])
    for part, needs in ((_rates, "tok_s"), (_peers, "peers"), (_cost, "cost"), (_int4, "int4_end_to_end")):
        if needs in figures:
            yield from part(figures)
    yield "\n## The rest\n"
    for told, needs in ((_adaptive, "adaptive_qps"), (_attention, "attention_ms"), (_overhead, "overhead_p50_ms")):
        if needs in figures:
            yield told(figures)
    for told, needs in ((_repair, "repair_median_s"), (_memory, "memory_mib"), (_signals, "signals_us_by_batch")):
        if needs in figures:
            yield told(figures)
    yield "- Not run: any GPU; none was at hand."


def _mark_row(mark: Mark, figures: Figures) -> tuple[str, ...]:
    found = mark.read(figures)
    words = "noise" if found is None else f"{found:g}"
    return (f"`{mark.name}`", words, mark.words, "" if mark.reached(figures) else "missed")


def _rates(figures: Figures) -> Iterator[str]:
    yield "\n## Tokens a second\n"
    yield _told(
        "A random Qwen3-MoE of 26 M parameters in fp32",
        "(vocabulary 512, 4 layers, hidden 256, 64 experts of 128, top-2),",
        "whole greedy requests through the engine with all signals; decode",
        "alone: what twice as many tokens take longer.",
        f"The most loaded of two ranks' experts had {figures['imbalance']:g} times the mean of rows.",
    )
    batches = list(next(iter(figures["tok_s"].values())))
    rows = [
        (f"{ranks} rank{'s' if int(ranks) > 1 else ''}", *(_number(by_batch[batch]) for batch in batches))
        for ranks, by_batch in figures["tok_s"].items()
    ]
    yield ""
    yield from _table(("", *(f"{batch} at once" for batch in batches)), rows)


def _peers(figures: Figures) -> Iterator[str]:
    differing = sum(figures["different_answers"].values())
    yield "\n## Beside transformers, vLLM and llama.cpp\n"
    yield _told(
        "The same weights, prompts and method, one thread each; our driver runs beside its rank",
        "([how](decisions/0030-peers-of-the-engine.md)); tokens a second. Greedy answers that differ from ours",
        f"although the margin allows none: {differing}.",
    )
    batches = list(figures["own"])
    rows = [("ours", *(_number(figures["own"][batch]) for batch in batches), "")]
    alone = figures["own_on_one_core"]
    rows.append(("ours, driver and rank on one core", *(_number(alone[batch]) for batch in batches), ""))
    for name, by_batch in figures["peers"].items():
        versions = ", ".join(f"{package} {version}" for package, version in figures["peer_versions"][name].items())
        rows.append((name, *(_number(by_batch[batch]) for batch in batches), versions))
    yield ""
    yield from _table(("", *(f"{batch} at once" for batch in batches), "versions"), rows)
    yield f"\n![Tokens a second of our engine and of three others]({PEERS})"


def _multiplying(gflop_s: float) -> str:
    """Where reading takes all the time, any speed of multiplying fits alike."""
    return f"{gflop_s:g} GFLOP/s" if gflop_s < _ANY_SPEED else "nothing for multiplying beside the reading"


def _cost(figures: Figures) -> Iterator[str]:
    error, fitted = figures["cost_error"], figures["cost_machine"]
    yield "\n## The cost model beside measured steps\n"
    yield _told(
        "`./run serving plan` predicts with `serving/planning/cost.py`. Here",
        "its machine is fitted to the steps by batch,",
        f"one of a long context and one of two ranks: {fitted['launch_us']:g}",
        f"µs an operator, {fitted['gb_s']:g} GB/s of",
        f"weights and {fitted['cache_gb_s']:g} GB/s of cache, {_multiplying(fitted['gflop_s'])},",
        f"{fitted['exchange_us']:g} µs",
        f"an exchange. Of the other steps it is off by {error['median']:.0%} at",
        f"the median, {error['largest']:.0%} at most.",
    )
    kept = ("series", "batch", "context", "experts", "ranks", "measured_ms", "predicted_ms")
    yield ""
    yield from _table(
        ("by", "sequences", "context", "experts", "ranks", "measured, ms", "predicted, ms"),
        [tuple(row[name] for name in kept) for row in figures["cost"]],
    )
    yield f"\n![A decode step by batch, context, experts and ranks, measured and predicted]({COST})"


def _int4(figures: Figures) -> Iterator[str]:
    yield "\n## Packed experts\n"
    yield _told(
        f"{figures['int4_bytes_ratio']:.1%} of the bytes in bf16. Held to",
        "AVX2, for which the marks were set, a product",
        f"of 4 or 8 rows is {figures['int4_product_ratio']:g} times as fast as in bf16, of one row",
        f"{figures['int4_product_ratio_1row']:g} times; with all that this processor has",
        f"{figures['int4_product_ratio_native']:g} and {figures['int4_product_ratio_1row_native']:g}",
        "times. Tokens a second",
        f"of whole answers, packed over floats: {figures['int4_end_to_end']:g} for the reference model,",
        f"{figures['int4_end_to_end_wide']:g} for one whose experts fit no cache",
        "([quality](decisions/0023-four-bit-experts.md)).",
    )


def _adaptive(figures: Figures) -> str:
    return _told(
        f"- Adaptive batches: {figures['adaptive_qps']:g} questions a second against {figures['fixed_qps']:g} of",
        f"run-to-completion batches of at most {figures['fixed_size']}, both",
        "with p99 below 200 ms, on steps as long as",
        "the rank's own ([how](decisions/0024-prefix-reuse-and-adaptive-batches.md)).",
    )


def _attention(figures: Figures) -> str:
    times = figures["attention_ms"]
    return _told(
        f"- One layer's attention of a prompt of 4,096 tokens in one step: {times['fused']:g} ms fused,",
        f"{times['plain']:g} ms plain; in the engine's chunks of 256 {times['fused_chunked']:g} and",
        f"{times['plain_chunked']:g} ms.",
    )


def _overhead(figures: Figures) -> str:
    return _told(
        f"- HTTP, HAProxy and Serve add {figures['overhead_p50_ms']:g} ms to an answer at the median,",
        f"{figures['overhead_p90_ms']:g} ms and more to one in ten.",
    )


def _repair(figures: Figures) -> str:
    median, longest = figures["repair_median_s"], figures["repair_s"]
    return _told(
        f"- A killed rank is replaced in {median['with_spare']:g} s (at most {longest['with_spare']:g}) with a spare,",
        f"in {median['without']:g} s (at most {longest['without']:g}) without; more kills: [figures.md](figures.md).",
    )


def _memory(figures: Figures) -> str:
    return _told(
        f"- Memory of driver and rank over {figures['memory_requests']:,} requests:",
        f"{figures['memory_growth_mib']:+g} MiB after the first third.",
    )


def _signals(figures: Figures) -> str:
    added = ", ".join(f"{value:g} µs of {batch}" for batch, value in figures["signals_us_by_batch"].items())
    return _told(f"- Log-probabilities, entropy and the 20 likeliest tokens add {added} sequences to a step.")


def _told(*parts: str) -> str:
    indent = "  " if parts[0].startswith("- ") else ""
    return fill(" ".join(parts), 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _number(value: float | None) -> str:
    return "noise" if value is None else f"{value:,.0f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
