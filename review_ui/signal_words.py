"""What each signal is called on the desk, and whether it lies where it usually does."""

from __future__ import annotations

from dataclasses import dataclass

from review_ui.reviews import Review

NAMES = {
    "prompt_logprob_mean": "How familiar the question is, mean log-probability",
    "prompt_logprob_window": "Strangest passage of the question, mean log-probability",
    "prompt_length": "Length of the question, log of tokens",
    "logprob_sum": "Log-probability of the whole answer",
    "logprob_mean": "Mean log-probability of a token",
    "logprob_min": "Least likely token, log-probability",
    "logprob_bottom_tenth": "Least likely tenth of the tokens, mean log-probability",
    "logprob_lowest_window": "Least likely passage, mean log-probability",
    "logprob_tail": "Mean log-probability of the ending",
    "answer_logprob_min": "Least likely token of the stated answer, log-probability",
    "answer_logprob_mean": "Mean log-probability of the stated answer",
    "answer_entropy_max": "Indecision over the stated answer, entropy",
    "answer_margin_min": "Closest runner-up to the stated answer, log-probability behind",
    "entropy_mean": "Indecision on the whole, entropy",
    "entropy_max": "Indecision at the worst moment, entropy",
    "margin_min": "Closest runner-up, log-probability behind",
    "margin_mean": "Lead over the runner-up on the whole, log-probability",
    "lag_max": "Furthest from the most likely token, log-probability behind",
    "lag_sum": "Distance from the most likely tokens in all, log-probability",
    "top_mass": "Weight of the likeliest tokens at the worst moment",
    "gate_entropy_mean": "Indecision of the experts’ gates, entropy",
    "length": "Length of the answer, log of tokens",
    "finished": "Ended by itself (1) or cut off (0)",
    "answer_found": "States an answer (1) or none (0)",
    "agreement": "Share of the further answers that say the same",
    "samples": "Further answers to compare with",
    "steps_valid": "Steps found right",
    "steps_invalid": "Steps found wrong",
    "steps_unknown": "Steps that could not be checked",
    "answer_substituted": "Stated answer holds when put back into the question (1) or not (0)",
    "answer_departs": "Stated answer differs from the last step’s number (1) or not (0)",
}


@dataclass(frozen=True, slots=True)
class Clue:
    """One signal in words."""

    name: str
    here: str
    usually: str
    unusual: bool


def clues(review: Review) -> list[Clue]:
    """Every signal, the unusual ones first, otherwise in the order the gateway tells them."""
    found = [_clue(name, value, review.signal_ranges.get(name)) for name, value in review.signals.items()]
    return sorted(found, key=lambda clue: not clue.unusual)


def _clue(name: str, value: float | None, limits: tuple[float, float, float] | None) -> Clue:
    label = NAMES.get(name, name.replace("_", " ").capitalize())
    usually = f"{_figure(limits[0])} to {_figure(limits[2])}" if limits else "not known"
    if value is None:
        return Clue(label, "missing", usually, unusual=limits is not None)
    here = _figure(value)
    # Compared as shown: a difference that nobody can read is not worth a reviewer's time.
    if limits and float(here) < float(_figure(limits[0])):
        return Clue(label, f"{here} ▼ low", usually, unusual=True)
    if limits and float(here) > float(_figure(limits[2])):
        return Clue(label, f"{here} ▲ high", usually, unusual=True)
    return Clue(label, here, usually, unusual=False)


def _figure(value: float) -> str:
    """Two digits behind the point, and no minus before a nought."""
    return f"{round(value, 2) + 0.0:.2f}"
