"""Runs every white-box and black-box scorer of uqlm, each by itself, without a language model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from uqlm import BlackBoxUQ, UQEnsemble, WhiteBoxUQ
from uqlm.nli.nli import NLI
from uqlm.scorers.shortform import black_box
from uqlm.scorers.shortform.baseclass.uncertainty import ALL_WHITE_BOX_SCORERS, BLACK_BOX_SCORERS
from uqlm.white_box.single_logprobs import SINGLE_LOGPROBS_SCORER_NAMES
from uqlm.white_box.top_logprobs import TOP_LOGPROBS_SCORER_NAMES

from benchmarks.peers.outputs import Floats, Found, Row, Sample, reason
from benchmarks.peers.polygraph import STATED

SAMPLED = {"semantic_negentropy", "semantic_density", "monte_carlo_probability", "consistency_and_confidence"}
BY_MEANING = {"semantic_negentropy", "semantic_density", "noncontradiction", "entailment", "semantic_sets_confidence"}
WHITE, BLACK = "WhiteBoxUQ", "BlackBoxUQ"
WHOLE = "not length-normalised"
FREE = [*SINGLE_LOGPROBS_SCORER_NAMES, *TOP_LOGPROBS_SCORER_NAMES]
TUNED = ["exact_match", "sequence_probability", "min_probability"]


class StatedAnswers(NLI):  # type: ignore[misc]  # uqlm is known only in its own environment
    """Stands in for the NLI model: texts that state the same answer entail each other, others contradict."""

    def __init__(self, stated: dict[str, str], **ignored: Any) -> None:
        self.stated = stated
        self.label_mapping = ["contradiction", "neutral", "entailment"]
        self.probabilities: dict[tuple[str, str], Any] = {}
        self.verbose, self.max_length, self.batch_size = False, 10_000, 32

    def predict_batch(self, pairs: list[tuple[str, str]]) -> Floats:
        """[pairs, 3]: contradiction, neutral, entailment."""
        same = np.array([float(self._answer(one) == self._answer(other)) for one, other in pairs])
        return np.stack([1 - same, 0 * same, same], axis=1)

    def _answer(self, text: str) -> str:
        return self.stated[text] if text in self.stated else self.stated[text.partition("\n")[2]]


def run(rows: Sequence[Row]) -> Iterator[Found]:
    """White-box scorers, length-normalised and not; black-box scorers on texts and on stated answers; the ensemble."""
    stated = {one.text: one.stated for row in rows for one in (row.greedy, *row.samples)}
    assert not any("\n" in row.prompt for row in rows), "a prompt of several lines hides where the answer begins"
    black_box.NLI = lambda **_: StatedAnswers(stated)
    given = _white_box_input(rows)
    alternatives = max(len(best) for row in rows for best in row.top)
    together = _white_box(FREE, True, given, alternatives, stated)  # each of them works out what the others do
    for name in FREE:
        yield _named(name, [], WHITE), 0, together if isinstance(together, str) else together[name]
    for name in (name for name in ALL_WHITE_BOX_SCORERS if name not in FREE):
        for normalised in (True, False) if name in SAMPLED else (True,):
            way = [] if normalised else [WHOLE]
            way += [STATED] if name in BY_MEANING else []
            found = _white_box([name], normalised, given, alternatives, stated)
            yield (
                _named(name, way, WHITE),
                _drawn(rows, name in SAMPLED),
                found if isinstance(found, str) else found[name],
            )
    whole = _white_box(["sequence_probability"], False, given, alternatives, stated)
    yield (
        _named("sequence_probability", [WHOLE], WHITE),
        0,
        whole if isinstance(whole, str) else whole["sequence_probability"],
    )
    for name in BLACK_BOX_SCORERS:
        way = [STATED] if name in BY_MEANING else []
        yield _named(name, way, BLACK), _drawn(rows, True), _black_box(name, rows, False)
    yield _named("exact_match", [STATED], BLACK), _drawn(rows, True), _black_box("exact_match", rows, True)
    for by_answer in (False, True):
        way = [*([STATED] if by_answer else []), "weights tuned on these very rows"]
        yield _named(", ".join(TUNED), way, "UQEnsemble"), _drawn(rows, True), _ensemble(rows, given, by_answer)


def _white_box(
    names: list[str], normalised: bool, given: dict[str, Any], alternatives: int, stated: dict[str, str]
) -> dict[str, Floats] | str:
    try:
        scorer = WhiteBoxUQ(scorers=names, top_k_logprobs=alternatives, length_normalize=normalised)
        if SAMPLED & set(names):
            scorer.sampled_logprobs_scorer._nli = StatedAnswers(stated)
        result = asyncio.run(scorer.score(**given, show_progress_bars=False))
        return {name: np.asarray(result.data[name], dtype=np.float64) for name in names}
    except Exception as error:
        return f"failed: {reason(error)}"


def _black_box(name: str, rows: Sequence[Row], by_answer: bool) -> Floats | str:
    try:
        scorer = BlackBoxUQ(scorers=[name], use_best=False)
        result = scorer.score(**_texts(rows, by_answer), show_progress_bars=False)
        return np.asarray(result.data[name], dtype=np.float64)
    except Exception as error:
        return f"failed: {reason(error)}"


def _ensemble(rows: Sequence[Row], given: dict[str, Any], by_answer: bool) -> Floats | str:
    try:
        ensemble = UQEnsemble(scorers=TUNED, use_best=False)
        asyncio.run(ensemble.score(**{**given, **_texts(rows, by_answer)}, show_progress_bars=False))
        tuned = ensemble.tune_from_graded([row.right for row in rows], show_progress_bars=False)
        return np.asarray(tuned.data["ensemble_scores"], dtype=np.float64)
    except Exception as error:
        return f"failed: {reason(error)}"


def _texts(rows: Sequence[Row], by_answer: bool) -> dict[str, Any]:
    def shown(one: Sample) -> str:
        return one.stated if by_answer else one.text

    return {
        "responses": [shown(row.greedy) for row in rows],
        "sampled_responses": [[shown(sample) for sample in row.samples] for row in rows],
    }


def _white_box_input(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "prompts": [row.prompt for row in rows],
        "logprobs_results": [_logprobs(row.greedy, row.top) for row in rows],
        "sampled_logprobs_results": [[_logprobs(sample) for sample in row.samples] for row in rows],
        **_texts(rows, False),
    }


def _logprobs(one: Sample, top: Sequence[Sequence[tuple[str, float]]] = ()) -> list[dict[str, Any]]:
    """As a chat completion tells them."""
    told = [{"token": token, "logprob": logprob} for token, logprob in zip(one.tokens, one.logprobs, strict=True)]
    if not top:
        return told
    alternatives = [[{"token": token, "logprob": logprob} for token, logprob in best] for best in top]
    return [{**token, "top_logprobs": best} for token, best in zip(told, alternatives, strict=True)]


def _drawn(rows: Sequence[Row], sampled: bool) -> int:
    return len(rows[0].samples) if sampled else 0


def _named(name: str, ways: Sequence[str], kind: str) -> str:
    return f"{kind} {name} ({', '.join(ways)})" if ways else f"{kind} {name}"
