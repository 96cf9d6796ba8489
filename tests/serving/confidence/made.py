"""Traces and a calibration made up for tests, so that no model is needed."""

from dataclasses import replace

from serving.answer import PromptTrace, TokenTrace
from serving.confidence.calibration import Calibration, Stage
from serving.confidence.cascade import Cascade
from serving.confidence.domains import Recogniser
from serving.confidence.score import IsotonicMap, PlattMap, Shape

MODEL = "countersign-reference@0123456789ab"
TEXT = "12 * 7 = 84\n84 + 9 = 93\nAnswer: 93"
PROMPT = PromptTrace(tokens=24, mean_logprob=-1.2, min_window_logprob=-2.0)


def trace(text: str = TEXT, logprob: float = -0.01, **columns: float | None) -> list[TokenTrace]:
    """One token a character, all equally sure."""
    top = (("a", logprob), ("b", logprob - 3.0), ("c", logprob - 5.0))
    known: dict[str, float | None] = {"entropy": 0.05, "gate_entropy": 3.5, **columns}
    return [TokenTrace(letter, ord(letter), logprob, top, known["entropy"], known["gate_entropy"]) for letter in text]


def calibration(model: str = MODEL) -> Calibration:
    """The surer the tokens and the more familiar the prompt, the likelier right; a stated answer may be missing."""
    return Calibration(
        model=model,
        shapes=(
            Shape("logprob_mean", ((-2.0, -4.0), (-0.1, 0.0), (0.0, 2.0)), None),
            Shape("prompt_logprob_mean", ((-6.0, -9.0), (-2.0, 0.0), (-1.0, 1.0)), None),
            Shape("answer_logprob_min", ((-3.0, -3.0), (0.0, 1.0)), -4.0),
        ),
        intercept=0.0,
        map=IsotonicMap(((-10.0, 0.01), (0.0, 0.4), (3.5, 0.97))),
        fitted_at=1_760_000_000.0,
        rows=1_000,
        accuracy=0.6,
        metrics={"auroc": 0.9, "ece": 0.02},
        signal_ranges={"logprob_mean": (-0.9, -0.1, -0.01)},
    )


SAMPLES = (TEXT, "12 * 7 = 84\nAnswer: 93.0", "Answer: 94", "I cannot say.")  # half of them say what TEXT says


def cascading(model: str = MODEL) -> Calibration:
    """As `calibration`, with a recogniser of two domains, a map for one of them, and two stages."""
    free = calibration(model)
    return replace(
        free,
        maps={"sums": IsotonicMap(((-10.0, 0.01), (0.0, 0.5), (3.5, 0.98))), "": PlattMap(1.0, -4.0, 0.01, 0.9)},
        recogniser=Recogniser(
            domains=("", "stories", "sums"),
            weights={"what": (0.0, 0.1, 0.2), "is": (0.0, 0.0, 0.1), "#": (0.0, 0.0, 0.5), "+": (-1.0, -2.0, 3.0)}
            | dict.fromkeys(("has", "apples", "many"), (-1.0, 4.0, -2.0)),
            offsets=(0.0, 0.0, 0.0),
            lead=1.0,
            strange=0.3,
        ),
        stages=tuple(_stage(free, count) for count in (1, 2)),
        cascade=Cascade(low=0.1, high=0.93, most=2, temperature=1.0),
    )


def _stage(free: Calibration, samples: int) -> Stage:
    agreeing = Shape("agreement", ((0.0, -3.0), (1.0, 1.0 + samples)), None)
    return Stage((*free.shapes, agreeing), -0.5, free.map, {"sums": PlattMap(1.1, 0.1, 0.02, 0.97)})
