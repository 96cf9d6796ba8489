"""Runs every sequence estimator of lm-polygraph whose statistics can be had from the outputs alone."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from lm_polygraph import estimators
from rouge_score import rouge_scorer

from benchmarks.peers.outputs import Floats, Found, Row, equality, reason

STATED = "same stated answer"  # what stands in for the NLI model and the sentence encoder, which are not to be had
ROUGE = "rougeL"
SURE, UNSURE = 10.0, -10.0  # logits of the stand-in

# Constructor arguments that make a method of its own.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "DegMat": ({}, {"affinity": "contra"}, {"similarity_score": "Jaccard_score"}),
    "EigValLaplacian": ({}, {"affinity": "contra"}, {"similarity_score": "Jaccard_score"}),
    "Eccentricity": ({}, {"affinity": "contra"}, {"similarity_score": "Jaccard_score"}),
    "LexicalSimilarity": tuple({"metric": metric} for metric in ("rouge1", "rouge2", "rougeL", "BLEU")),
    "SemanticEntropy": (
        {},
        {"entropy_estimation": "direct"},
        {"use_unique_responses": True},
        {"class_probability_estimation": "frequency"},
        {"class_probability_estimation": "frequency", "entropy_estimation": "direct"},
    ),
    "SemanticDensity": ({}, {"concat_input": False}),
}


def run(rows: Sequence[Row], distributions: Sequence[Floats] | None) -> Iterator[Found]:
    """`distributions`, for each row log-probabilities [tokens, vocabulary], are what some estimators look at."""
    shared = _free(rows, distributions) | _samples(rows)
    compared = {STATED: _stated(rows), ROUGE: _rouge(rows)}
    kinds: list[tuple[str, Any]] = inspect.getmembers(estimators, inspect.isclass)
    for name, kind in kinds:
        if not issubclass(kind, estimators.Estimator) or kind is estimators.Estimator or "claim" in _packages(kind):
            continue
        for arguments in VARIANTS.get(name, ({},)):
            try:
                estimator = kind(**arguments)
            except Exception as error:
                yield name, 0, f"cannot be made without a model: {reason(error)}"
                continue
            if estimator.level != "sequence":
                continue  # scores tokens or claims, not answers
            yield from _each(estimator, shared, compared)


def _packages(kind: Any) -> list[str]:
    """Estimators of claims have a package of their own."""
    return str(kind.__module__).split(".")


def _each(estimator: Any, shared: dict[str, Any], compared: dict[str, dict[str, Any]]) -> Iterator[Found]:
    """Once with each way of comparing texts, or once where it compares none."""
    method, needed = str(estimator), set(estimator.stats_dependencies) - set(shared)
    drawn = len(shared["sample_texts"][0])
    ways = [way for way, stats in compared.items() if needed <= set(stats)] if needed else [""]
    if not ways:
        known = set(compared[STATED])
        yield method, 0, f"needs {', '.join(sorted(needed - known))}, which the outputs do not hold"
    for way in ways:
        samples = drawn if any(map(_of_samples, estimator.stats_dependencies)) else 0
        yield f"{method} ({way})" if way else method, samples, _called(estimator, shared | compared.get(way, {}))


def _called(estimator: Any, stats: dict[str, Any]) -> Floats | str:
    try:
        return -np.asarray(estimator(stats), dtype=np.float64)
    except Exception as error:
        return f"failed: {reason(error)}"


def _of_samples(stat: str) -> bool:
    return stat.startswith(("sample", "semantic")) or "sentence_similarity" in stat or "greedy_semantic" in stat


def _free(rows: Sequence[Row], distributions: Sequence[Floats] | None) -> dict[str, Any]:
    stats: dict[str, Any] = {
        "greedy_log_likelihoods": [np.array(row.greedy.logprobs) for row in rows],
        "greedy_texts": [row.greedy.text for row in rows],
        "input_texts": [row.prompt for row in rows],
        "entropy": [row.entropies for row in rows],
        "greedy_tokens": [row.ids for row in rows],
        "greedy_tokens_alternatives": [row.top for row in rows],
        "greedy_tokens_alternatives_nli": [list(map(_token_nli, row.top)) for row in rows],
    }
    if distributions is not None:
        stats["greedy_log_probs"] = distributions
    return stats


def _token_nli(alternatives: list[tuple[str, float]]) -> list[list[str]]:
    """A token says the same as itself and contradicts every other: bytes have no meanings to compare."""
    return [["entail" if one == other else "contra" for other, _ in alternatives] for one, _ in alternatives]


def _samples(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "sample_texts": [[sample.text for sample in row.samples] for row in rows],
        "sample_tokens": [[sample.tokens for sample in row.samples] for row in rows],
        "sample_log_likelihoods": [[sample.logprobs for sample in row.samples] for row in rows],
        "sample_log_probs": [[sum(sample.logprobs) for sample in row.samples] for row in rows],
    }


def _stated(rows: Sequence[Row]) -> dict[str, Any]:
    """Two answers entail each other where they state the same number, and contradict each other elsewhere."""
    stated = [[sample.stated for sample in row.samples] for row in rows]
    among = np.array([equality(answers, answers) for answers in stated])
    greedy = [equality(answers, [row.greedy.stated])[:, 0] for answers, row in zip(stated, rows, strict=True)]
    logits = np.where(among > 0, SURE, UNSURE)
    contra, neutral = [1 - equal for equal in greedy], [0 * equal for equal in greedy]
    return {
        "semantic_matrix_entail": among,
        "semantic_matrix_contra": 1 - among,
        "semantic_matrix_entail_logits": logits,
        "semantic_matrix_contra_logits": -logits,
        "semantic_classes_entail": _classes(stated),
        "greedy_sentence_similarity": greedy,
        "sample_sentence_similarity": among,
        **{f"{way}greedy_semantic_matrix_contra_forward": contra for way in ("", "concat_")},
        **{f"{way}greedy_semantic_matrix_neutral_forward": neutral for way in ("", "concat_")},
    }


def _classes(stated: Sequence[Sequence[str]]) -> dict[str, Any]:
    sample_to_class, class_to_sample = {}, {}
    for index, answers in enumerate(stated):
        order = {answer: place for place, answer in enumerate(dict.fromkeys(answers))}
        sample_to_class[index] = [order[answer] for answer in answers]
        class_to_sample[index] = [[j for j, one in enumerate(answers) if one == answer] for answer in order]
    return {"sample_to_class": sample_to_class, "class_to_sample": class_to_sample}


def _rouge(rows: Sequence[Row]) -> dict[str, Any]:
    scorer = rouge_scorer.RougeScorer([ROUGE])

    def alike(one: str, other: str) -> float:
        return 1.0 if one == other else float(scorer.score(one, other)[ROUGE].fmeasure)

    return {
        "greedy_sentence_similarity": [
            np.array([alike(row.greedy.text, sample.text) for sample in row.samples]) for row in rows
        ],
        "sample_sentence_similarity": [
            np.array([[alike(one.text, other.text) for other in row.samples] for one in row.samples]) for row in rows
        ],
    }
