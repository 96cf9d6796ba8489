"""Fits the recogniser of domains: a penalised linear classifier over which words occur in a question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from serving.confidence.domains import UNRECOGNISED, Recogniser, words_of
from training.calibration_rows import Row

MOST_WORDS = 600
SEEN_AT_LEAST = 3  # rows in which a word must occur to be known
LEAD = 1.0  # log-odds by which the best domain must lead
STRANGE_QUANTILE, STRANGE_LEAST = 0.995, 0.1  # of familiar questions' shares of unknown words; never demand fewer


def fit_recogniser(rows: Sequence[Row]) -> Recogniser | None:
    """Fitted to the rows' questions; foreign ones are of no domain. None where rows are of fewer than two classes."""
    names = [UNRECOGNISED if row.foreign else row.domain for row in rows]
    words = [words_of(row.text) for row in rows]
    classes = sorted(set(names))
    vocabulary = _vocabulary(words, names)
    if len(classes) < 2 or not vocabulary:
        return None
    fitted = LogisticRegression(C=3.0, max_iter=300).fit(_occurrences(words, vocabulary), names)
    weights, offsets = fitted.coef_, fitted.intercept_
    if len(classes) == 2:  # one row of weights, for the second class
        weights, offsets = np.vstack([-weights, weights]) / 2, np.concatenate([-offsets, offsets]) / 2
    return Recogniser(
        domains=tuple(str(name) for name in fitted.classes_),
        weights={word: _row(weights[:, at]) for at, word in enumerate(vocabulary)},
        offsets=_row(offsets),
        lead=LEAD,
        strange=_strange(words, names),
    )


def _vocabulary(words: Sequence[set[str]], names: Sequence[str]) -> list[str]:
    """The words of familiar questions, most frequent first; words of foreign ones alone are unknown on purpose."""
    counts = Counter(word for found, name in zip(words, names, strict=True) if name for word in found)
    return [word for word, count in counts.most_common(MOST_WORDS) if count >= SEEN_AT_LEAST and len(word) <= 40]


def _occurrences(words: Sequence[set[str]], vocabulary: Sequence[str]) -> np.ndarray:
    """[rows, words]: whether a word occurs"""
    places = {word: at for at, word in enumerate(vocabulary)}
    found = np.zeros((len(words), len(vocabulary)), dtype=np.float32)
    for row, present in enumerate(words):
        found[row, [places[word] for word in present if word in places]] = 1.0
    return found


def _strange(words: Sequence[set[str]], names: Sequence[str]) -> float:
    """The share of unknown words that a familiar question may have, by vocabularies that did not see it."""
    shares: list[float] = []
    for fold in range(2):
        seen = [(found, name) for at, (found, name) in enumerate(zip(words, names, strict=True)) if at % 2 != fold]
        known = set(_vocabulary([found for found, _ in seen], [name for _, name in seen]))
        unseen = (found for at, found in enumerate(words) if at % 2 == fold and names[at] and found)
        shares += [len(found - known) / len(found) for found in unseen]
    return max(STRANGE_LEAST, round(float(np.quantile(shares, STRANGE_QUANTILE)), 4)) if shares else STRANGE_LEAST


def _row(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
