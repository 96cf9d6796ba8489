"""Says of every equation in an answer whether it is valid, invalid or unknown, and why; never raises, never hangs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice

from serving.answer import Step
from serving.confidence.self_verify import limits
from serving.confidence.self_verify.chains import Chain, chains, roles
from serving.confidence.self_verify.derivation import Derivation
from serving.confidence.self_verify.question import read_question
from serving.confidence.self_verify.stated import departure, put_back, stated_answer
from serving.confidence.self_verify.tokens import tokenize

_ANNOTATION = re.compile(r"<<([^<>\n]{1,200})>>")  # GSM8K: 48/2 = <<48/2=24>>24
_RELATION = re.compile(r"[=≈≠≤≥<>]|\\(?:approx|n?eq?|[lg]eq?)\b")


@dataclass(frozen=True, slots=True)
class _Checked:
    step: Step
    result: Fraction | None  # what the chain ends in


def steps(text: str, question: str = "", *, symbolic: bool = False) -> tuple[Step, ...]:
    """The equations of `text` in order, and last what became of the stated answer.

    With `symbolic`, sympy settles what exact fractions cannot; it is slow and not to be trusted to come to an end, so
    that belongs into a subprocess. Without it everything is bounded by limits.py.
    """
    read = text[: limits.CHARACTERS]
    asked = read_question(question)
    derivation = Derivation(asked, symbolic, read)
    checked = list(_equations(read, derivation))
    found = [each.step for each in checked[: limits.STEPS]]
    if len(checked) > limits.STEPS or len(text) > len(read):
        start = found[-1].end if len(checked) > limits.STEPS else len(read)
        return (*found, Step(start, len(text), "unknown", "From here on the answer is too long to be checked."))
    if stated := stated_answer(read):
        last = next((each.result for each in reversed(checked) if each.result is not None), None)
        if asked:
            found.append(put_back(stated, asked, derivation.budget, symbolic=symbolic))
        elif last is not None and (departed := departure(stated, last, derivation.budget)):
            found.append(departed)
    return tuple(found)


def _equations(text: str, derivation: Derivation) -> Iterator[_Checked]:
    if not _RELATION.search(text):
        return
    notes: list[tuple[int, _Checked]] = []  # each with its end
    for match in islice(_ANNOTATION.finditer(text), limits.STEPS):
        notes += [
            (match.end(), each) for each in _checked(chains(roles(tokenize(match[1], match.start(1)))), derivation)
        ]
    plain = _ANNOTATION.sub(lambda match: " " * len(match[0]), text)
    for each in _checked(chains(roles(tokenize(plain))), derivation):
        while notes and notes[0][0] <= each.step.start:
            yield notes.pop(0)[1]
        while notes and notes[0][0] <= each.step.end:
            each = _with_note(each, notes.pop(0)[1])
        yield each
    yield from (note for _, note in notes)


def _checked(found: Iterable[Chain], derivation: Derivation) -> Iterator[_Checked]:
    followed = list(islice(found, limits.STEPS + 1))
    derivation.foresee(followed)
    for chain in followed:
        if verdict := derivation.follow(chain):
            step = Step(chain.start, chain.end, verdict.state, verdict.why)
            yield _Checked(step, derivation.result_of(chain))


def _with_note(written: _Checked, note: _Checked) -> _Checked:
    """An equation as written and as annotated, in one step."""
    one, other = written.step, note.step
    state, why = one.state, one.why
    if {one.state, other.state} == {"valid", "unknown"}:
        if written.result is not None and written.result == note.result:
            state, why = "valid", ""
        else:
            state, why = "unknown", "What is written and what is annotated do not come to the same."
    elif {one.state, other.state} == {"valid", "invalid"} and written.result == note.result:
        state, why = "unknown", "What is written and what is annotated differ, and one of them is true."
    elif other.state == "invalid" != one.state:
        state, why = other.state, other.why
    return replace(written, step=Step(one.start, one.end, state, why))
