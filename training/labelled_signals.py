"""Measures one labelled answer as the gateway would have: from its log-probabilities, or takes what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.upstream_client import FINISHES, tokens_of
from serving.answer import PromptTrace
from serving.confidence.assess import measure
from serving.confidence.catalogue import NAMES
from training.labelled_fields import prompt_of
from training.labelled_file import Place
from training.verified_steps import verified

Signals = dict[str, float | None]
# what no OpenAI-compatible server tells the gateway: a calibration that needs them would vouch for nothing there
UNTOLD_UPSTREAM = ("prompt_logprob_mean", "prompt_logprob_window", "gate_entropy_mean")
OF_SAMPLES = ("agreement", "samples")  # what comparing samples adds, as the cascade draws them
LAGS = ("lag_max", "lag_sum")  # below nought where the chosen token is not among the alternatives that were told
_MOST_TOKENS = 1_000
SHARES = ("top_mass", "finished", "answer_found")
_ROUNDING = 1e-3  # a log-probability may lie this far above nought


def signals_of(place: Place, fields: Mapping[str, Any]) -> Signals | None:
    """Every signal by name, None where it is missing; None in all where the tokens are not those of the answer.

    Raises Refused naming the field.
    """
    if ("signals" in fields) == ("logprobs" in fields):
        raise place.refuse(
            "", 'must hold "logprobs" as the server sent them, or "signals" already measured: one of both.'
        )
    if "signals" in fields:
        return _given(place, fields["signals"])
    return _measured(place, fields)


def _given(place: Place, signals: Any) -> Signals:
    if not isinstance(signals, dict):
        raise place.refuse("signals", "must be an object of numbers by name.")
    for name, value in signals.items():
        if name not in NAMES:
            raise place.refuse(f"signals.{name}", f"there is no such signal; there are {', '.join(sorted(NAMES))}.")
        if name in OF_SAMPLES:
            raise place.refuse(f"signals.{name}", "comes of comparing samples: give their texts as samples instead.")
        if value is not None:
            _possible(place, name, _number(place, f"signals.{name}", value))
    if all(value is None for value in signals.values()):
        raise place.refuse("signals", "none was measured, so nothing can be learned from this answer; leave it out.")
    return {**{name: None if signals.get(name) is None else float(signals[name]) for name in NAMES}, "samples": 0.0}


def _possible(place: Place, name: str, value: float) -> None:
    """Log-probabilities are at most nought; entropies, margins, counts and shares at least that."""
    tolerance = _ROUNDING * _MOST_TOKENS if name == "logprob_sum" else _ROUNDING  # each token's own adds up
    if "logprob" in name and value > tolerance:
        raise place.refuse(f"signals.{name}", f"{value:g} is above 0, so it is no log-probability.")
    if "logprob" not in name and name not in LAGS and value < -_ROUNDING:
        raise place.refuse(f"signals.{name}", f"{value:g} is below 0, which it never is where it is measured.")
    if name in SHARES and value > 1.0 + _ROUNDING:
        raise place.refuse(f"signals.{name}", f"{value:g} is above 1, and it is a share.")


def _measured(place: Place, fields: Mapping[str, Any]) -> Signals | None:
    content, text, finish = _content(place, fields["logprobs"]), fields.get("answer"), fields.get("finish_reason")
    if not isinstance(text, str):
        raise place.refuse("answer", "must be the text that these log-probabilities belong to.")
    if finish is not None and finish not in FINISHES:
        raise place.refuse("finish_reason", f"must be one of {', '.join(FINISHES)}, not {finish!r}.")
    tokens = tokens_of({"content": content})
    if "".join(token.text for token in tokens) != text:
        return None
    prompt = PromptTrace(_count(place, fields), _optional(place, fields, "prompt_logprob_mean"))
    steps = verified(prompt_of(place, fields), text)
    signals = measure(tokens, prompt, FINISHES.get(str(finish), "error"), text, steps=steps)
    if finish is None:
        signals["finished"] = None
    return signals


def _content(place: Place, logprobs: Any) -> list[Any]:
    """OpenAI's `choices[0].logprobs.content`, or the object around it, every number checked."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else logprobs
    if not isinstance(content, list):
        raise place.refuse(
            "logprobs", 'must be the list choices[0].logprobs.content of the response; ask with "logprobs": true.'
        )
    if not content:
        raise place.refuse(
            "logprobs", 'holds no tokens, so nothing was measured; ask with "logprobs": true or leave the row out.'
        )
    for index, token in enumerate(content):
        _checked_token(place, f"logprobs[{index}]", token)
        others = token.get("top_logprobs") or []
        if not isinstance(others, list):
            raise place.refuse(f"logprobs[{index}].top_logprobs", "must be a list.")
        for other, alternative in enumerate(others):
            _checked_token(place, f"logprobs[{index}].top_logprobs[{other}]", alternative)
    return content


def _checked_token(place: Place, name: str, token: Any) -> None:
    if not isinstance(token, dict) or not isinstance(token.get("token"), str):
        raise place.refuse(name, 'must be an object {"token": text, "logprob": number}.')
    if _number(place, f"{name}.logprob", token.get("logprob")) > _ROUNDING:
        raise place.refuse(f"{name}.logprob", f"{token['logprob']:g} is above 0, so it is no log-probability.")


def _number(place: Place, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.refuse(
            name, f"must be a number, not {type(value).__name__}; leave the field out where it is missing."
        )
    if not math.isfinite(value) or abs(value) > 1e15:
        raise place.refuse(name, f"{value} is no finite number; leave the row out, the gateway holds such answers.")
    return float(value)


def _optional(place: Place, fields: Mapping[str, Any], name: str) -> float | None:
    return None if fields.get(name) is None else _number(place, name, fields[name])


def _count(place: Place, fields: Mapping[str, Any]) -> int:
    count = _optional(place, fields, "prompt_tokens") or 0.0
    if count < 0 or count != int(count):
        raise place.refuse("prompt_tokens", "must be the whole number of tokens that the server counted.")
    return int(count)
