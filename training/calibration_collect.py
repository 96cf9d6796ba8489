"""Has the model answer the planned asks and keeps the graded rows; an interrupted collection goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.progress import track

from serving.confidence.assess import measure
from serving.engine.engine import Engine
from serving.engine.generation import Generated, GenerationRequest, Message, Role
from serving.engine.local import local_engine
from training.calibration_asks import Ask
from training.calibration_rows import Row, append_rows, read_rows
from training.questions import grade

TOGETHER = 32  # generations under way at a time
WRITTEN_AT_ONCE = 50  # rows


def collect(checkpoint: Path, asks: Sequence[Ask], path: Path, ranks: int = 1) -> list[Row]:
    """Answer what the file at `path` does not hold yet; returns the rows of all asks by this checkpoint.

    Raises CheckpointError, RankLost, and what the engine says of an ask it refuses.
    """
    with local_engine(checkpoint, ranks=ranks) as engine:
        model = engine.checkpoint.model_id
        known = {row.key: row for row in read_rows(path) if row.model == model} if path.exists() else {}
        open_asks = [ask for ask in asks if ask.key not in known]
        answered = track(answers(engine, open_asks, model), "answering", len(open_asks), console=Console(stderr=True))
        for batch in _batches(answered, WRITTEN_AT_ONCE):
            append_rows(path, batch)
            known.update({row.key: row for row in batch})
    return [known[ask.key] for ask in asks]


def answers(engine: Engine, asks: Iterable[Ask], model: str) -> Iterator[Row]:
    """A row for each ask, in the order in which they are done; TOGETHER of them under way at a time."""
    under_way: dict[Future[Generated], Ask] = {}
    waiting = iter(asks)
    while True:
        while len(under_way) < TOGETHER and (ask := next(waiting, None)):
            under_way[engine.submit(_request(ask))] = ask
        if not under_way:
            return
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            yield graded(under_way.pop(future), future.result(), model)


def graded(ask: Ask, generated: Generated, model: str) -> Row:
    """The row of one answer: its signals as serving measures them, and whether it is right."""
    return Row(
        key=ask.key,
        model=model,
        text=ask.question.text,
        domain=ask.question.domain,
        difficulty=ask.question.difficulty,
        foreign=ask.foreign,
        template=ask.template,
        temperature=ask.temperature,
        system=ask.messages[0][0] == "system",
        written=generated.text,
        finish_reason=generated.finish_reason,
        right=grade(ask.question, generated.text),
        signals=measure(generated.tokens, generated.prompt, generated.finish_reason, generated.text),
    )


def _request(ask: Ask) -> GenerationRequest:
    messages = tuple(Message(cast(Role, role), content) for role, content in ask.messages)
    return GenerationRequest(
        ask.key, messages, max_tokens=ask.max_tokens, temperature=ask.temperature, seed=ask.seed, top_logprobs=5
    )


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
