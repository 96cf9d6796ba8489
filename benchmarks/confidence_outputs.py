"""Has the reference model answer held-out questions, once greedily and four times sampled, and keeps what it wrote."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.progress import track

from serving.answer import FinishReason, PromptTrace, TokenTrace, token_from_json, token_to_json
from serving.engine.engine import Engine
from serving.engine.generation import Generated, GenerationRequest, Message
from serving.engine.local import local_engine
from serving.model.checkpoint import open_checkpoint
from training.fresh_questions import fresh
from training.questions import DIFFICULTIES, DOMAINS, Question, grade

SAMPLES = 4
TEMPERATURE = 1.0
TOGETHER = 12  # questions under way at a time, each with all of its answers
FOREIGN = "foreign"  # the domain of questions that the model was never taught


@dataclass(frozen=True, slots=True)
class Written:
    """One answer as the engine gave it; of a sample the alternatives of its tokens are not kept."""

    text: str
    finish_reason: FinishReason
    tokens: tuple[TokenTrace, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """The greedy answer to a question, and further answers to it drawn at TEMPERATURE."""

    question: Question
    prompt: PromptTrace
    greedy: Written
    samples: tuple[Written, ...]

    @property
    def right(self) -> bool:
        return grade(self.question, self.greedy.text)


def own_questions(seed: int, per_domain: int) -> list[Question]:
    """Distinct held-out questions of the measuring half, `per_domain` of each domain, equally over the difficulties.

    Asking for more with the same seed keeps those that fewer would give.
    """
    rng, wanted = random.Random(seed), per_domain // len(DIFFICULTIES)
    drawn: Counter[tuple[str, int]] = Counter()
    texts: set[str] = set()
    questions: list[Question] = []
    while len(questions) < wanted * len(DIFFICULTIES) * len(DOMAINS):
        question = fresh(rng, for_measuring=True)
        cell = question.domain, question.difficulty
        if drawn[cell] < wanted and question.text not in texts:
            drawn[cell] += 1
            texts.add(question.text)
            questions.append(question)
    return questions


def foreign_questions(path: Path) -> list[Question]:
    """The questions of a GSM8K file; they have no answer that counts as right."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Question(json.loads(line)["question"], "", "", FOREIGN, 0) for line in lines]


def collect(checkpoint: Path, questions: Sequence[Question], folder: Path, seed: int) -> tuple[str, list[Output]]:
    """The model's id and its outputs in the questions' order; an interrupted collection goes on where it was.

    Raises CheckpointError, RankLost, and what the engine says of a question it refuses.
    """
    model = open_checkpoint(checkpoint).model_id
    path = folder / f"outputs-{model.replace('@', '-')}-{seed}.jsonl"
    wanted = {question.text: question for question in questions}
    known = {text: output for text, output in _read(path) if text in wanted}
    missing = [question for text, question in wanted.items() if text not in known]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with local_engine(checkpoint, ranks=1, most_running=64) as engine, path.open("ab") as file:
            answered = _answer_all(engine, missing, seed)
            for output in track(answered, "answering", len(missing), console=Console(stderr=True)):
                line = json.dumps(_to_json(output), ensure_ascii=False, separators=(",", ":"))
                file.write(line.encode() + b"\n")
                known[output.question.text] = _from_json(json.loads(line))  # with the digits that are kept
    return model, [known[question.text] for question in questions]


def _answer_all(engine: Engine, questions: Iterable[Question], seed: int) -> Iterator[Output]:
    under_way: dict[Future[Generated], str] = {}
    asked: dict[str, Question] = {}
    done: dict[str, list[Generated]] = {}
    waiting = iter(questions)
    while True:
        while len(asked) < TOGETHER and (question := next(waiting, None)):
            asked[question.text], done[question.text] = question, []
            under_way |= {engine.submit(request): question.text for request in _requests(question, seed)}
        if not under_way:
            return
        finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in finished:
            text = under_way.pop(future)
            done[text].append(future.result())
            if len(done[text]) == 1 + SAMPLES:
                yield _output(asked.pop(text), done.pop(text))


def _requests(question: Question, seed: int) -> Iterator[GenerationRequest]:
    messages = (Message("user", question.text),)
    digest = hashlib.sha256(f"{seed}:{question.text}".encode())
    name, first = digest.hexdigest()[:16], int.from_bytes(digest.digest()[:6], "big")
    yield GenerationRequest(f"{name}-0", messages, temperature=0.0, top_logprobs=5)
    for index in range(1, 1 + SAMPLES):
        yield GenerationRequest(
            f"{name}-{index}", messages, temperature=TEMPERATURE, top_p=1.0, seed=first + index, top_logprobs=5
        )


def _output(question: Question, generated: Sequence[Generated]) -> Output:
    greedy, *samples = sorted(generated, key=lambda one: one.request_id)
    return Output(question, greedy.prompt, _written(greedy), tuple(map(_written, samples)))


def _written(generated: Generated) -> Written:
    return Written(generated.text, generated.finish_reason, generated.tokens)


def _to_json(output: Output) -> dict[str, Any]:
    question = output.question
    return {
        "question": [question.text, question.solution, question.answer, question.domain, question.difficulty],
        "prompt": [output.prompt.tokens, output.prompt.mean_logprob, output.prompt.min_window_logprob],
        "greedy": _written_to_json(output.greedy, alternatives=True),
        "samples": [_written_to_json(sample, alternatives=False) for sample in output.samples],
    }


def _written_to_json(written: Written, *, alternatives: bool) -> list[Any]:
    rows = [token_to_json(token) for token in written.tokens]
    if not alternatives:
        rows = [[text, token_id, logprob, [], *rest] for text, token_id, logprob, _, *rest in rows]
    return [written.text, written.finish_reason, _shortened(rows)]


def _shortened(value: Any) -> Any:
    """Seven digits of every float: what a float32 held."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    return [_shortened(entry) for entry in value] if isinstance(value, list) else value


def _read(path: Path) -> Iterator[tuple[str, Output]]:
    """What a file holds; a last line cut short by an interruption is removed from it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                file.truncate(file.tell() - len(line))
                return
            output = _from_json(json.loads(line))
            yield output.question.text, output


def _from_json(fields: dict[str, Any]) -> Output:
    return Output(
        Question(*fields["question"]),
        PromptTrace(*fields["prompt"]),
        _written_from_json(fields["greedy"]),
        tuple(map(_written_from_json, fields["samples"])),
    )


def _written_from_json(row: list[Any]) -> Written:
    text, finish_reason, tokens = row
    return Written(text, cast(FinishReason, finish_reason), tuple(map(token_from_json, tokens)))
