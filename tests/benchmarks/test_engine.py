"""The engine's benchmark: its parts compute what they say, on sizes that take no time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import engine, engine_memory, engine_repair
from benchmarks.engine_attention import plain
from benchmarks.engine_cost import FITTED, POINTS, SERIES, Point, fit, predict, step_seconds
from benchmarks.engine_docs import page
from benchmarks.engine_marks import measured, missed
from benchmarks.engine_model import Shape, make
from benchmarks.engine_plots import draw_cost, draw_rates
from serving.model.attention import attend
from serving.model.checkpoint import open_checkpoint
from serving.planning.cost import Machine
from serving.planning.shape import ModelShape, shape_of
from tests.serving.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, ModelShape]:
    folder = tmp_path_factory.mktemp("shapes")
    return {
        experts: shape_of(
            open_checkpoint(make(folder / str(experts), shape=Shape(experts=experts, layers=1, hidden=32))).config
        )
        for experts in (16, 64, 256)
    }


def test_plain_attention_is_what_the_fused_one_computes() -> None:
    draw = torch.Generator().manual_seed(3)
    queries = torch.randn(7, 4, 8, generator=draw)
    keys, values = (torch.randn(1, 2, 12, 8, generator=draw) for _ in range(2))
    seen = torch.arange(5, 12).unsqueeze(1) >= torch.arange(12)
    mask = torch.where(seen, torch.tensor(0.0), torch.tensor(float("-inf"))).view(1, 1, 7, 12)
    torch.testing.assert_close(plain(queries, keys, values, mask, 0.3), attend(queries, keys, values, mask, 0.3))


def test_the_cost_model_finds_the_machine_that_made_the_steps(shapes: dict[int, ModelShape]) -> None:
    real = Machine(8e9, 3e10, 7e-6, link=1e12, exchange_seconds=9e-5, reached=1.0, cache_reached=0.4)
    found = {point: predict(point, shapes, real) for point in POINTS}
    machine = fit({point: found[point] for point in FITTED}, shapes)
    for point, seconds in found.items():
        assert predict(point, shapes, machine) == pytest.approx(seconds, rel=0.05)


def test_more_work_is_predicted_to_take_longer(shapes: dict[int, ModelShape]) -> None:
    machine = Machine(8e9, 3e10, 7e-6, link=1e12, exchange_seconds=9e-5, reached=1.0)
    usual = predict(Point(), shapes, machine)
    assert predict(Point(batch=32), shapes, machine) > usual
    assert predict(Point(context=2048), shapes, machine) > usual
    assert predict(Point(experts=256), shapes, machine) > usual


def test_steps_are_told_by_batch() -> None:
    rows = [{"series": "batch", "batch": 8, "measured_ms": 2.0}, {"series": "context", "batch": 8, "measured_ms": 9.0}]
    assert step_seconds(rows) == {8: 0.002}


def test_plots_are_drawn(tmp_path: Path) -> None:
    rows = [
        {
            "series": series,
            "batch": point.batch,
            "context": point.context,
            "experts": point.experts,
            "fitted": point in FITTED,
            "measured_ms": 1.0 + point.batch,
            "predicted_ms": 1.1 + point.batch,
        }
        for series, points in SERIES.items()
        for point in points
    ]
    draw_cost(tmp_path / "cost.png", rows, "a machine")
    draw_rates(tmp_path / "rates.png", {1: 100.0, 8: 400.0}, {"vllm": {1: 50.0, 8: 300.0}}, "a machine")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("cost.png", "rates.png"))


def test_memory_is_looked_at_while_requests_come(tmp_path: Path) -> None:
    found = engine_memory.measure(write_tiny_checkpoint(tmp_path / "tiny"), requests=64)
    assert found["memory_requests"] == 64
    assert len(found["memory_mib"]) == 8
    assert all(look > 50 for look in found["memory_mib"])  # two processes with torch


@pytest.mark.parametrize("words", [["--only", "nonsense"], ["--only", "peers"], ["--rounds", "0"]])
def test_what_cannot_be_measured_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        engine.main(words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_without_the_peers_environments_it_says_how_to_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_HOME", str(tmp_path))
    monkeypatch.delenv("COUNTERSIGN_PEERS", raising=False)
    assert engine.main(["--peers"]) == 2
    assert "--prepare" in capsys.readouterr().err


def test_a_repair_run_that_tells_nothing_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_repair.sys, "executable", "/bin/false")
    with pytest.raises(engine_repair.NotRepaired):
        engine_repair.measure(0.1)


def test_a_mark_is_missed_where_its_figure_falls_short_or_drowned_in_noise() -> None:
    figures = {"over_vllm_b1": 2.9, "over_vllm_b8": None, "attention_saving": 0.6, "repair_s": {"with_spare": 3.1}}
    assert missed(figures) == ["over_vllm_b1", "over_vllm_b8", "repair_s with a spare"]
    assert "attention_saving" in [mark.name for mark in measured(figures)]
    assert missed({}) == []


@pytest.mark.parametrize(("gflop_s", "words"), [(16.2, "16.2 GFLOP/s"), (1e62, "nothing for multiplying")])
def test_a_speed_that_any_fits_is_not_told(gflop_s: float, words: str) -> None:
    machine = {"processor": "P", "cores": 2, "memory_gib": 8, "python": "3", "versions": {"torch": "2"}}
    fitted = {"launch_us": 2.0, "gb_s": 18.0, "cache_gb_s": 19.0, "gflop_s": gflop_s, "exchange_us": 100.0}
    error = {"median": 0.1, "largest": 0.2}
    told = page({"machine": machine, "load": {}, "cost": [], "cost_machine": fitted, "cost_error": error})
    assert words in " ".join(told).replace("\n", " ")


def test_the_page_tells_what_was_measured_and_nothing_else() -> None:
    machine = {"processor": "P", "cores": 2, "memory_gib": 8, "python": "3", "versions": {"torch": "2"}}
    figures = {"machine": machine, "load": {"memory": [1.5, 0, 0]}, "memory_growth_mib": 9.0, "memory_requests": 800}
    told = "\n".join(page({**figures, "memory_mib": [1.0]}))
    assert "memory 1.5" in told
    assert "| `memory_growth_mib` | 9 | at most 8 | missed |" in told
    assert "+9 MiB" in told
    assert "vLLM" not in told
