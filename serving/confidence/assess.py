"""Says how sure the model may be of one answer, and in words why nothing vouches for it."""

from __future__ import annotations

from collections.abc import Sequence

from serving.answer import Confidence, FinishReason, PromptTrace, Signal, Step, TokenTrace
from serving.confidence.calibration import Calibration, Stage
from serving.confidence.catalogue import OF_STEPS, SIGNALS
from serving.confidence.evidence import finite, gather
from serving.confidence.score import fuse, unvouched


def assess(
    tokens: Sequence[TokenTrace],
    prompt: PromptTrace,
    finish_reason: FinishReason,
    text: str,
    model: str,
    calibration: Calibration | None,
    steps: Sequence[Step] | None = None,
    *,
    asked: str | None = None,
    earlier: Sequence[str] = (),
    samples: Sequence[str] = (),
) -> Confidence:
    """The calibrated probability that `text` is right, with every signal; its value is None where nothing vouches.

    `model` is the id of the checkpoint that answered, as in Answer.model; `steps` what self-verification saw, None
    where it did not look; `asked` the caller's last message and `earlier` those before, all to be of one domain;
    `samples` further answers to compare with, drawn as the calibration's cascade wants them. Raises nothing over
    a trace's numbers.
    """
    signals = measure(tokens, prompt, finish_reason, text, steps, samples=samples)
    shown = tuple(map(Signal._make, signals.items()))
    if calibration is None:
        return _unknown(shown, "No calibration is active for this model.")
    stage = calibration.stage(len(samples))
    if stage is None:
        return _unknown(shown, f"The calibration was not fitted for {len(samples)} samples.")
    objection = _objection(tokens, signals, model, calibration, stage)
    if objection:
        return _unknown(shown, objection)
    domain = calibration.recogniser.domain_of_all([asked, *earlier]) if calibration.recogniser else None
    score = fuse(signals, stage.shapes, stage.intercept)
    value = finite(stage.map_for(domain).probability(score))
    if value is None or not 0.0 <= value <= 1.0:
        return _unknown(shown, "The calibration gave no probability for this answer.")
    return Confidence(value, calibration.id, True, score, shown, domain, samples=len(samples))


def measure(
    tokens: Sequence[TokenTrace],
    prompt: PromptTrace,
    finish_reason: FinishReason,
    text: str,
    steps: Sequence[Step] | None = None,
    *,
    samples: Sequence[str] = (),
) -> dict[str, float | None]:
    """Every signal of the catalogue by name: finite, or None."""
    evidence = gather(tokens, prompt, finish_reason, text, steps, samples=samples)
    return {name: finite(signal(evidence)) for name, signal in SIGNALS}


def _objection(
    tokens: Sequence[TokenTrace],
    signals: dict[str, float | None],
    model: str,
    calibration: Calibration,
    stage: Stage,
) -> str | None:
    if calibration.model != model:
        return f"The calibration was fitted for {calibration.model}, and {model} answered."
    if not tokens:
        return "The model produced no tokens."
    if signals["steps_valid"] is None and not OF_STEPS.isdisjoint(shape.signal for shape in stage.shapes):
        return "Its steps were not checked, and the calibration goes by them."
    missing = unvouched(signals, stage.shapes)
    if missing:
        return f"Could not be measured, or is no finite number: {', '.join(missing)}."
    return None


def _unknown(signals: tuple[Signal, ...], note: str) -> Confidence:
    return Confidence(value=None, calibration_id=None, calibrated=False, signals=signals, note=note)
