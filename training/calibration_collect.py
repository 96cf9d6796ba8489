"""Has the model answer the planned asks and keeps the graded rows; an interrupted collection goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

from rich.console import Console
from rich.progress import track

from serving.confidence.assess import measure
from serving.confidence.cascade import sample_seed
from serving.confidence.self_verify.child import checked
from serving.engine.engine import Engine
from serving.engine.generation import Generated, GenerationRequest, Message, Role
from serving.engine.local import local_engine
from training.calibration_asks import Ask
from training.calibration_rows import Row, append_rows, read_rows
from training.questions import grade

TOGETHER = 32  # generations under way at a time
WRITTEN_AT_ONCE = 50  # rows
SAMPLE_TEMPERATURE = 1.0
CHECK_SECONDS = 0.2  # for the steps of one answer, about as long as in serving

Asked = TypeVar("Asked")


def collect(
    checkpoint: Path,
    asks: Sequence[Ask],
    path: Path,
    ranks: int = 1,
    *,
    samples: int = 0,
    among: Callable[[Row], bool] = lambda row: True,
    temperature: float = SAMPLE_TEMPERATURE,
) -> list[Row]:
    """Answer what the file at `path` does not hold yet; returns the rows of all asks by this checkpoint.

    Rows for which `among` holds get `samples` further answers, drawn at `temperature`. A row that gains samples is
    written anew; the last one of a key counts. Raises CheckpointError, RankLost, and what the engine says of an ask it
    refuses.
    """
    console = Console(stderr=True)
    with local_engine(checkpoint, ranks=ranks) as engine:
        model = engine.checkpoint.model_id
        known = {row.key: row for row in read_rows(path) if row.model == model} if path.exists() else {}

        def keep(rows: Iterable[Row], count: int, doing: str) -> None:
            for batch in _batches(track(rows, doing, count, console=console), WRITTEN_AT_ONCE):
                append_rows(path, batch)
                known.update({row.key: row for row in batch})

        unanswered = [ask for ask in asks if ask.key not in known]
        keep(answers(engine, unanswered, model), len(unanswered), "answering")
        unsampled = [ask for ask in asks if len(known[ask.key].samples) < samples and among(known[ask.key])]
        keep(sampled(engine, unsampled, known, samples, temperature), len(unsampled), "sampling")
    return [known[ask.key] for ask in asks]


def answers(engine: Engine, asks: Iterable[Ask], model: str) -> Iterator[Row]:
    """A row for each ask, in the order in which they are done."""
    for ask, generated in _together(engine, ((ask, _request(ask)) for ask in asks)):
        yield graded(ask, generated, model)


def sampled(
    engine: Engine, asks: Iterable[Ask], rows: Mapping[str, Row], count: int, temperature: float
) -> Iterator[Row]:
    """The row of each ask with `count` samples, in the order in which they are done."""
    drawn: dict[str, dict[int, str]] = {}
    requests = (((ask, n), sample_request(ask, n, temperature)) for ask in asks for n in range(count))
    for (ask, number), generated in _together(engine, requests):
        texts = drawn.setdefault(ask.key, {})
        texts[number] = generated.text
        if len(texts) == count:
            yield replace(rows[ask.key], samples=tuple(texts[n] for n in range(count)))
            del drawn[ask.key]


def _together(engine: Engine, requests: Iterable[tuple[Asked, GenerationRequest]]) -> Iterator[tuple[Asked, Generated]]:
    """What is generated for each request, in the order in which they are done; TOGETHER of them under way at a time."""
    under_way: dict[Future[Generated], Asked] = {}
    waiting = iter(requests)
    while True:
        while len(under_way) < TOGETHER and (following := next(waiting, None)):
            asked, request = following
            under_way[engine.submit(request)] = asked
        if not under_way:
            return
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            yield under_way.pop(future), future.result()


def graded(ask: Ask, generated: Generated, model: str) -> Row:
    """The row of one answer: its signals as serving measures them, and whether it is right."""
    steps = checked(generated.text, ask.question.text, CHECK_SECONDS)
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
        signals=measure(generated.tokens, generated.prompt, generated.finish_reason, generated.text, steps),
    )


def sample_request(ask: Ask, number: int, temperature: float) -> GenerationRequest:
    """Another sample of the same question, as serving draws it."""
    request = replace(_request(ask), request_id=f"{ask.key}:{number}", temperature=temperature, top_logprobs=0)
    return replace(request, seed=sample_seed(ask.seed, number))


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
