"""What self-verification sees of wrong solutions, how often it flags right ones, and what its signals are worth."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import verify_sets, verify_timing
from benchmarks.machine import machine
from benchmarks.verify_exact import is_true
from benchmarks.verify_fusion import gain
from benchmarks.verify_sets import MissingData, Solution, Trace
from serving.answer import Step
from serving.confidence.self_verify.answer_step import is_of_the_answer, was_put_back
from serving.confidence.self_verify.verify import steps
from training.domains.expressions import reduce

Steps = tuple[Step, ...]
_REDUCIBLE = ("sums", "expressions")  # kinds of question whose steps follow from the question alone
_EXPRESSION = re.compile(r"[\d(][\d\s+\-*()]*[\d)]")


def measure(data: Path, own_answers: Path | Sequence[Solution] | None) -> dict[str, Any]:
    """{"verify": {data set: figures}, "verify_p99_ms": …}. Raises MissingData.

    `own_answers` are our model's, with their signals; a path leads to a file of training.calibration_rows.
    """
    verify_sets.require(data)
    gold, models = verify_sets.gsm8k_gold(data), verify_sets.gsm8k_models(data)
    figures: dict[str, Any] = {"big_bench": big_bench(verify_sets.big_bench(data)), "gsm8k": gsm8k(gold, models)}
    timed: list[Solution] = [*models]
    if own_answers is not None:
        answers = verify_sets.own(own_answers) if isinstance(own_answers, Path) else list(own_answers)
        figures["own"] = own(answers)
        timed += answers
    timing = verify_timing.measure(timed)
    return {"verify": {**figures, "timing": timing}, "verify_p99_ms": timing["pool_p99_ms"]}


def big_bench(traces: Sequence[Trace]) -> dict[str, Any]:
    """By equations alone: the answer's own step is left out of recall, first_step and false_alarm.

    false_alarm: of the traces labelled right, the share in which an equation was flagged that `is_true` calls true, or
    of which it has no opinion.
    """
    found = [steps(trace.text, trace.question) for trace in traces]
    pairs = list(zip(traces, found, strict=True))
    wrong = [(trace, _flagged(each)) for trace, each in pairs if trace.mistake is not None]
    unmarked = [replace(trace, right=True) for trace in traces if trace.mistake is None]
    of_unmarked = [each for trace, each in pairs if trace.mistake is None]
    first = sum(bool(each) and trace.line_of(each[0].start) == trace.mistake for trace, each in wrong)
    return {
        "solutions": {"wrong": len(wrong), "right": len(unmarked)},
        "recall": _share(sum(bool(each) for _, each in wrong), len(wrong)),
        "first_step": _share(first, len(wrong)),
        "false_alarm": _true_flagged(unmarked, of_unmarked),
        "labelled_right_but_false": sum(bool(_flagged(each)) for each in of_unmarked),
        **_answers_put_back(traces, found),
        **gain(traces, found),
    }


def gsm8k(gold: Sequence[Solution], models: Sequence[Solution]) -> dict[str, Any]:
    """false_alarm is the larger of the shares of people's and of models' right solutions in which a step is flagged."""
    found = [steps(solution.text, solution.question) for solution in models]
    of_people = _false_alarm(gold, [steps(solution.text, solution.question) for solution in gold])
    of_models = _false_alarm(models, found)
    return {
        "solutions": _counts(models),
        "recall": _recall(models, found),
        "first_step": None,  # nobody has labelled the lines
        "false_alarm": max(of_people, of_models),
        "false_alarm_gold": of_people,
        "false_alarm_models": of_models,
        "right_share": _right_by_state(models, found),
        **gain(models, found),
    }


def own(answers: Sequence[Solution]) -> dict[str, Any]:
    """Recall and false alarms of equations alone, by kind of question too."""
    found = [steps(answer.text, answer.question) for answer in answers]
    by_domain = {}
    for domain in sorted({answer.domain for answer in answers}):
        of = [(answer, each) for answer, each in zip(answers, found, strict=True) if answer.domain == domain]
        answers_of, found_of = [answer for answer, _ in of], [each for _, each in of]
        by_domain[domain] = {
            "solutions": _counts(answers_of),
            "recall": _recall(answers_of, found_of),
            "false_alarm": _false_alarm(answers_of, found_of),
        }
    return {
        "solutions": _counts(answers),
        "recall": _recall(answers, found),
        "first_step": _first_own_step(answers, found),
        "false_alarm": _false_alarm(answers, found),
        "false_alarm_true": _true_flagged(answers, found),
        "right_share": _right_by_state(answers, found),
        **_answers_put_back(answers, found),
        **gain(answers, found),
        "by_domain": by_domain,
    }


def _first_own_step(answers: Sequence[Solution], found: Sequence[Steps]) -> float | None:
    """Of wrong answers to sums and expressions: whether the first flagged line is the first that is not as expected.

    Expected is the question's own solution. A number copied wrongly into a true equation is not as expected, and no
    checker of steps sees it.
    """
    exact = []
    for answer, each in zip(answers, found, strict=True):
        expression = _EXPRESSION.search(answer.question.replace("×", "*").replace(" x ", " * "))
        if answer.right or answer.domain not in _REDUCIBLE or not expression or "=" not in answer.text:
            continue
        spaced = re.sub(r"\s*([+\-*])\s*", r" \1 ", expression[0]).strip()
        expected, _ = reduce(spaced)
        lines = answer.text.split("\n")
        first = next((at for at, line in enumerate(lines) if "=" in line and line not in expected[at : at + 1]), None)
        flagged = _flagged(each)
        told = answer.text.count("\n", 0, flagged[0].start) if flagged else None
        exact.append(first is not None and told == first)
    return _share(sum(exact), len(exact)) if exact else None


def _answers_put_back(answers: Sequence[Solution], found: Sequence[Steps]) -> dict[str, Any]:
    """Where the question holds a formula: how often putting the answer back tells right from wrong."""
    states = [(answer.right, was_put_back(each)) for answer, each in zip(answers, found, strict=True)]
    wrong = [state for right, state in states if not right and state]
    right = [state for right, state in states if right and state]
    return {
        "put_back": _share(len(wrong) + len(right), len(states)),
        "put_back_recall": _share(wrong.count("invalid"), len(wrong)),
        "put_back_false_alarm": _share(right.count("invalid"), len(right)),
    }


def _recall(answers: Sequence[Solution], found: Sequence[Steps]) -> float | None:
    flags = [bool(_flagged(each)) for answer, each in zip(answers, found, strict=True) if not answer.right]
    return _share(sum(flags), len(flags))


def _false_alarm(answers: Sequence[Solution], found: Sequence[Steps]) -> float:
    flags = [bool(_flagged(each)) for answer, each in zip(answers, found, strict=True) if answer.right]
    return _share(sum(flags), len(flags)) or 0.0


def _true_flagged(answers: Sequence[Solution], found: Sequence[Steps]) -> float | None:
    """The share of right answers in which an equation was flagged that is not false by the second opinion."""
    right = [(answer, each) for answer, each in zip(answers, found, strict=True) if answer.right]
    alarms = [any(is_true(answer.text[s.start : s.end]) is not False for s in _flagged(each)) for answer, each in right]
    return _share(sum(alarms), len(alarms))


def _right_by_state(answers: Sequence[Solution], found: Sequence[Steps]) -> dict[str, Any]:
    """How many answers are right among those with a flagged equation, with valid ones alone, and with neither."""
    groups: dict[str, list[bool]] = {"flagged": [], "verified": [], "uncovered": []}
    for answer, each in zip(answers, found, strict=True):
        equations = [step.state for step in each if not is_of_the_answer(step)]
        verified = bool(equations) and all(state == "valid" for state in equations)
        state = "flagged" if "invalid" in equations else "verified" if verified else "uncovered"
        groups[state].append(answer.right)
    return {state: {"share": _share(sum(group), len(group)), "answers": len(group)} for state, group in groups.items()}


def _flagged(each: Steps) -> list[Step]:
    return [step for step in each if step.state == "invalid" and not is_of_the_answer(step)]


def _counts(answers: Sequence[Solution]) -> dict[str, int]:
    right = sum(answer.right for answer in answers)
    return {"wrong": len(answers) - right, "right": right}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when measured, 2 when data are missing."""
    parser = argparse.ArgumentParser(prog="./run bench confidence_verify", description=__doc__)
    parser.add_argument("--own", type=Path, help="our model's answers: a file of ./run calibrate's rows")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    if options.own and not options.own.is_file():
        print(f"confidence_verify: {options.own} is not there; ./run calibrate writes such a file.", file=sys.stderr)
        return 2
    try:
        figures = measure(Path(os.environ.get("COUNTERSIGN_DATA") or "data"), options.own)
    except MissingData as missing:
        print(f"confidence_verify: {missing}", file=sys.stderr)
        return 2
    figures |= {"machine": machine(), "seconds": round(time.monotonic() - begun, 1)}
    print(json.dumps(figures, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
