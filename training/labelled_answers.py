"""Turns a file of labelled answers into rows to fit: one model's, each once, with what was left out and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.calibration_rows import Row
from training.labelled_columns import Columns
from training.labelled_fields import label_of, prompt_of, samples_of, text_of
from training.labelled_file import Place, Refused, read_records
from training.labelled_signals import UNTOLD_UPSTREAM, signals_of

FIELDS = (
    "model", "question", "prompt", "messages", "answer", "logprobs", "finish_reason", "right", "correct", "domain",
    "prompt_logprob_mean", "prompt_tokens", "samples", "signals",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Graded:
    """One answer of which it is known whether it is right."""

    row: Row
    group: str  # the domain as whoever labelled it named it: for figures
    weight: float = 1.0  # 1 / the chance with which it came to be labelled: for the certificate
    heaviest: float | None = None  # that others of its moment could weigh; None: as the heaviest there is
    certifies: bool = True  # False: a further answer to a question, not independent; or from before an alarm


@dataclass
class Collected:
    """The answers to fit, and in words what was left out."""

    model: str
    answers: list[Graded]
    notes: list[str] = field(default_factory=list)
    attempt: int | None = None  # at certifying on answers that keep coming, from 1; None: all there will be are here


def read_answers(path: Path, model: str | None, columns: Columns) -> Collected:
    """The answers of `model`, or of the only model in the file. Raises Refused naming line and field."""
    reading = _Reading(model)
    for place, fields, whole in _records(path, columns):
        reading.take(place, fields, whole)
    return reading.done(path)


def _records(path: Path, columns: Columns) -> Iterator[tuple[Place, dict[str, Any], str]]:
    """Place and fields of each answer, and all of it but its label as one text."""
    known: Columns | None = None
    for place, record in read_records(path):
        whole = record
        if path.suffix.lower() == ".csv":
            known = known or columns.checked(Place(path.name, 1), record)
            record = known.fields(place, record)
        unknown = [name for name in record if name not in FIELDS]
        if unknown:
            raise place.refuse(unknown[0][:60], f"no such field is known; the fields are {', '.join(FIELDS)}.")
        labels = {"right", "correct", *(columns.right.split("=") if whole is not record else ())}
        yield place, record, json.dumps([(name, whole[name]) for name in sorted(whole) if name not in labels])


class _Reading:
    """What has been read of one file so far."""

    def __init__(self, model: str | None) -> None:
        self._wanted = model
        self._first: tuple[str, Place] | None = None
        self._samples: tuple[int, Place] | None = None
        self._answers: dict[str, tuple[Graded, Place]] = {}
        self._questions: set[str] = set()
        self._left_out: dict[str, tuple[int, Place]] = {}  # reason: how many, and where first

    def take(self, place: Place, fields: Mapping[str, Any], whole: str) -> None:
        right = label_of(place, fields)
        model = self._model(place, fields)
        if model is None:
            return
        signals = signals_of(place, fields)
        if signals is None:
            self._leave_out("answers whose tokens do not spell their text, left out: the gateway holds such", place)
            return
        prompt = prompt_of(place, fields)
        question = text_of(place, fields, "question") or prompt
        told = json.dumps([question, prompt, fields.get("answer"), sorted(signals.items())]) if question else whole
        key = hashlib.sha256(told.encode()).hexdigest()[:16]
        if key in self._answers:
            self._repeated(place, self._answers[key], right)
            return
        question = question or f"answer {key}"
        row = _row(key, model, question, prompt, place, fields, right, signals)
        self._samples = self._samples or (len(row.samples), place)
        if len(row.samples) != self._samples[0]:
            raise place.refuse(
                "samples",
                f"has {len(row.samples)} texts, and line {self._samples[1].line} has {self._samples[0]}: give every "
                "answer as many, since the gateway draws them for every answer that needs them.",
            )
        graded = Graded(row, text_of(place, fields, "domain") or "", certifies=question not in self._questions)
        self._questions.add(question)
        self._answers[key] = graded, place

    def done(self, path: Path) -> Collected:
        answers = [graded for graded, _ in self._answers.values()]
        model = self._wanted or (self._first[0] if self._first else "")
        if not answers:
            raise Refused(f"{path} holds no answers{f' of {model}' if model else ''} that could be fitted.")
        notes = [f"{count} {what} (first: line {place.line})." for what, (count, place) in self._left_out.items()]
        return Collected(model, answers, notes + _cautions(answers))

    def _model(self, place: Place, fields: Mapping[str, Any]) -> str | None:
        """Whose answer it is; None: another model's than was asked for."""
        named = text_of(place, fields, "model") or self._wanted
        if named is None:
            raise place.refuse("model", "names no model; add it, as the server answers it, or say it with --model.")
        if self._wanted is not None and named != self._wanted:
            self._leave_out(f"answers of another model than {self._wanted}, left out", place)
            return None
        self._first = self._first or (named, place)
        if named != self._first[0]:
            raise place.refuse(
                "model",
                f"is {named}, and line {self._first[1].line} is of {self._first[0]}: a calibration is of one model, "
                "so choose it with --model.",
            )
        return named

    def _repeated(self, place: Place, known: tuple[Graded, Place], right: bool) -> None:
        if known[0].row.right != right:
            raise place.refuse(
                "right",
                f"the same answer stands with the other label on line {known[1].line}: keep the true one, or tell the "
                'two apart by a field "question".',
            )
        self._leave_out("repeated answers, counted once", place)

    def _leave_out(self, what: str, place: Place) -> None:
        count, first = self._left_out.get(what, (0, place))
        self._left_out[what] = count + 1, first


def _row(
    key: str,
    model: str,
    question: str,
    prompt: str | None,
    place: Place,
    fields: Mapping[str, Any],
    right: bool,
    signals: dict[str, float | None],
) -> Row:
    return Row(
        key=key,
        model=model,
        text=question,
        domain=(text_of(place, fields, "domain") or "") if prompt else "",  # recognised by the words of the question
        difficulty=0,
        foreign=False,
        template="",
        temperature=0.0,
        system=False,
        written=text_of(place, fields, "answer") or "",
        finish_reason=str(fields.get("finish_reason") or ""),
        right=right,
        signals=signals,
        samples=samples_of(place, fields),
    )


def _cautions(answers: list[Graded]) -> list[str]:
    """What of these answers a reader should know before trusting what comes of them."""
    cautions = []
    told = [name for name in UNTOLD_UPSTREAM if any(graded.row.signals.get(name) is not None for graded in answers)]
    if told:
        cautions.append(
            f"Measured here, but not told by an upstream server: {', '.join(told)}. Answers asked through the gateway "
            "of such a server will be held; leave the field out to calibrate without it."
        )
    repeats = sum(not graded.certifies for graded in answers)
    if repeats:
        cautions.append(f"{repeats} further answers to the same questions; the certificate counts each question once.")
    return cautions
