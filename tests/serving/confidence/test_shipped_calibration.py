"""The calibration that ships with the reference checkpoint fits it, and holds what the product promises."""

import json
import random
from pathlib import Path

import pytest

from serving.answer import Step
from serving.confidence.assess import assess
from serving.confidence.calibration import Calibration, calibration_from_json
from serving.confidence.self_verify.unfinished import BUSY, DIED
from serving.confidence.self_verify.verify import steps
from serving.model.checkpoint import open_checkpoint
from tests.serving.confidence.made import PROMPT, TEXT, trace
from training import foreign
from training.questions import DOMAINS, sample

ASKED = "What is 12 * 7 + 9?"
REFERENCE = Path(__file__).parents[3] / "serving" / "checkpoints" / "reference"


@pytest.fixture(scope="module")
def shipped() -> Calibration:
    return calibration_from_json(json.loads((REFERENCE / "calibration.json").read_text(encoding="utf-8")))


def test_it_was_fitted_for_the_very_weights_beside_it(shipped: Calibration) -> None:
    assert shipped.model == open_checkpoint(REFERENCE).model_id


def test_it_fuses_at_least_six_signals_the_prompts_perplexity_among_them(shipped: Calibration) -> None:
    signals = {shape.signal for shape in shipped.shapes}
    assert len(signals) >= 6
    assert "prompt_logprob_mean" in signals


def test_its_figures_on_answers_that_did_not_make_it_keep_the_promises(shipped: Calibration) -> None:
    figures = shipped.metrics
    assert figures["auroc"] >= 0.75
    assert figures["ece"] <= 0.05
    assert figures["foreign_released"] <= 0.02
    assert figures["released_accuracy"] - figures["held_accuracy"] >= 0.15
    assert figures["coverage"] >= 0.3


@pytest.mark.parametrize("strangeness", [-4.0, -6.0, -12.0])
def test_no_answer_however_sure_to_a_strange_prompt_is_released(shipped: Calibration, strangeness: float) -> None:
    prompt = type(PROMPT)(tokens=200, mean_logprob=strangeness, min_window_logprob=strangeness)
    surest = trace(TEXT, logprob=-1e-6, entropy=1e-5, gate_entropy=3.5)
    confidence = assess(surest, prompt, "stop", TEXT, shipped.model, shipped, steps(TEXT, ASKED), asked=ASKED)
    assert confidence.value is not None
    assert confidence.value < 0.1


def test_a_sure_answer_to_a_familiar_prompt_is_released(shipped: Calibration) -> None:
    prompt = type(PROMPT)(tokens=24, mean_logprob=-0.6, min_window_logprob=-0.9)
    surest = trace(TEXT, logprob=-1e-5, entropy=1e-4, gate_entropy=3.5)
    checked = steps(TEXT, ASKED)
    confidence = assess(surest, prompt, "stop", TEXT, shipped.model, shipped, checked, asked=ASKED)
    assert confidence.value is not None
    assert confidence.value >= 0.85
    assert confidence.domain == "expressions"


def test_without_its_steps_checked_no_answer_is_released(shipped: Calibration) -> None:
    prompt = type(PROMPT)(tokens=24, mean_logprob=-0.6, min_window_logprob=-0.9)
    surest = trace(TEXT, logprob=-1e-5, entropy=1e-4, gate_entropy=3.5)
    for unchecked in (None, (Step(0, len(TEXT), "unknown", DIED),), (Step(0, len(TEXT), "unknown", BUSY),)):
        confidence = assess(surest, prompt, "stop", TEXT, shipped.model, shipped, unchecked, asked=ASKED)
        assert confidence.value is None
        assert "steps were not checked" in (confidence.note or "")


def test_it_knows_the_reference_model_s_five_domains_and_draws_samples_where_it_is_undecided(
    shipped: Calibration,
) -> None:
    assert shipped.recogniser is not None
    assert set(DOMAINS) == set(shipped.recogniser.domains) - {""} == set(shipped.maps) - {""}
    rng = random.Random(5)
    asked = [sample(rng, "held_out") for _ in range(200)]
    assert sum(shipped.recogniser.domain(each.text) == each.domain for each in asked) >= 190
    strange = [foreign.sample(rng).text for _ in range(200)]
    assert sum(shipped.recogniser.domain(text) is not None for text in strange) <= 30
    assert shipped.cascade is not None
    assert len(shipped.stages) >= 1
