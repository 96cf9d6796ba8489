"""A collection asks a real engine, measures as serving does, and goes on where it was interrupted."""

from dataclasses import replace
from pathlib import Path

import pytest

from serving.confidence.assess import assess
from serving.engine.generation import GenerationRequest, Message
from serving.engine.local import local_engine
from tests.serving.tiny_checkpoint import write_tiny_checkpoint
from training.calibration_asks import Ask, plan
from training.calibration_collect import collect
from training.calibration_rows import append_rows, read_rows
from training.verified_steps import verified


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def asks() -> list[Ask]:
    return [replace(ask, max_tokens=12) for ask in plan(7, own=6, foreign_count=2)]


def test_an_interrupted_collection_goes_on_and_keeps_what_it_had(
    checkpoint: Path, asks: list[Ask], tmp_path: Path
) -> None:
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    rows = collect(checkpoint, asks, whole)
    assert [row.key for row in rows] == [ask.key for ask in asks]
    kept = [replace(row, written="kept as it was") for row in rows[:3]]
    append_rows(part, kept)
    part.write_bytes(part.read_bytes() + b'{"key": "cut sh')
    resumed = collect(checkpoint, asks, part)
    assert resumed[:3] == kept
    assert [row.key for row in resumed] == [row.key for row in rows]
    assert len(list(read_rows(part))) == len(asks)


def test_rows_of_another_checkpoint_are_not_taken_for_this_one(
    checkpoint: Path, asks: list[Ask], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = collect(checkpoint, asks[:1], path)
    path.unlink()
    append_rows(path, [replace(rows[0], model="another@000000000000", written="foreign")])
    assert collect(checkpoint, asks[:1], path)[0].written != "foreign"


def test_a_row_holds_the_signals_that_serving_shows(checkpoint: Path, asks: list[Ask], tmp_path: Path) -> None:
    greedy = next(ask for ask in asks if ask.temperature == 0)
    (row,) = collect(checkpoint, [greedy], tmp_path / "rows.jsonl")
    messages = tuple(Message(role, content) for role, content in greedy.messages)  # type: ignore[arg-type]
    with local_engine(checkpoint) as engine:
        request = GenerationRequest("again", messages, max_tokens=12, temperature=0.0, top_logprobs=5)
        generated = engine.submit(request).result(60)
    confidence = assess(
        generated.tokens,
        generated.prompt,
        generated.finish_reason,
        generated.text,
        row.model,
        None,
        verified(greedy.question.text, generated.text),
    )
    shown = {signal.name: signal.value for signal in confidence.signals}
    assert row.written == generated.text
    assert shown == pytest.approx(row.signals, abs=1e-4)


def test_samples_are_drawn_for_the_rows_that_want_them_and_only_once(
    checkpoint: Path, asks: list[Ask], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    wanted = {ask.key for ask in asks[:2]}
    collect(checkpoint, asks, path)
    rows = collect(checkpoint, asks, path, samples=2, among=lambda row: row.key in wanted)
    assert [len(row.samples) for row in rows] == [2, 2, *[0] * (len(asks) - 2)]
    size = path.stat().st_size
    assert collect(checkpoint, asks, path, samples=2, among=lambda row: row.key in wanted) == rows
    assert path.stat().st_size == size
