"""A stopped run resumes exactly, practice keeps out of the held-out split, and load spreads."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AfmoeConfig

from training import run_state, tokens
from training.architecture import LOAD_RATE, LoadBias, build, reference_config
from training.conversations import PROMPT_WEIGHT, batch, chats
from training.muon import orthogonal
from training.pretrain import Run, RunFacts, main, predict, pretrain, rate, start, step_loss
from training.questions import split_of

FACTS = RunFacts(seed=7, steps=4, rows=2, length=192)


def tiny() -> AfmoeConfig:
    config = reference_config()
    config.update({"hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16, "num_hidden_layers": 2})
    config.update({"num_experts": 8, "head_dim": 16, "layer_types": ["sliding_attention"] * 2})
    return config


def begin(folder: Path, resume: bool = False) -> Run:
    return start(tiny(), FACTS, "cpu", folder, resume)


def test_a_resumed_run_repeats_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = pretrain(begin(tmp_path / "whole"), "cpu", tmp_path / "whole")
    halves = pretrain(begin(tmp_path / "halves"), "cpu", tmp_path / "halves", until=2)
    resumed = begin(tmp_path / "halves", resume=True)
    assert resumed.facts.done == 2
    halves += pretrain(resumed, "cpu", tmp_path / "halves")
    assert halves == pytest.approx(whole, abs=1e-6)


def test_a_resume_without_its_moments_would_differ(tmp_path: Path) -> None:
    whole = pretrain(begin(tmp_path / "whole"), "cpu", tmp_path / "whole")
    pretrain(begin(tmp_path / "halves"), "cpu", tmp_path / "halves", until=2)
    resumed = begin(tmp_path / "halves", resume=True)
    for optimizer in resumed.optimizers:
        optimizer.state.clear()
    assert pretrain(resumed, "cpu", tmp_path / "halves") != pytest.approx(whole[2:], abs=1e-6)


def test_a_run_keeps_only_safetensors_and_plain_facts(tmp_path: Path) -> None:
    pretrain(begin(tmp_path), "cpu", tmp_path, until=1)
    assert {path.name for path in tmp_path.iterdir()} == {run_state.WEIGHTS, run_state.MOMENTS, run_state.FACTS}
    assert json.loads((tmp_path / run_state.FACTS).read_text())["done"] == 1


def test_a_run_is_not_overwritten_by_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_state.save(tmp_path, build(tiny(), seed=1), [], FACTS)
    monkeypatch.setattr("sys.argv", ["pretrain", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    assert run_state.read_facts(tmp_path) == FACTS


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    run = start(tiny(), RunFacts(seed=7, steps=60, rows=4, length=192), "cpu", tmp_path, resume=False)
    losses = pretrain(run, "cpu", tmp_path)
    assert losses[-1] < losses[0] - 1


def test_practice_never_shows_a_held_out_question() -> None:
    for step in (0, 700, 1500):
        asked = chats(random.Random(step), step)
        for _ in range(700):
            for turn in next(asked):
                assert turn.role != "user" or split_of(turn.content) == "train"


def test_a_batch_follows_from_seed_and_step_alone() -> None:
    first, again, other = batch(1, 5, 4, 256), batch(1, 5, 4, 256), batch(1, 6, 4, 256)
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.ids, other.ids)


def test_chats_fill_rows_and_answers_weigh_more_than_prompts() -> None:
    packed = batch(1, 0, 24, 256)
    assert (packed.ids != tokens.PAD).float().mean() > 0.85
    assert packed.weights.unique().tolist() == pytest.approx([0.0, PROMPT_WEIGHT, 1.0])
    assert (packed.weights[packed.ids == tokens.EOS] == 1).all()
    assert (packed.positions[packed.ids == tokens.BOS] == 0).all()
    assert (packed.weights[packed.ids == tokens.BOS] == 0).all()


def test_chats_packed_into_one_row_do_not_see_each_other() -> None:
    model = build(tiny(), seed=1).eval()
    packed = batch(1, 0, 1, 256)
    second = int((packed.ids[0] == tokens.BOS).nonzero()[1])
    disturbed = packed.ids.clone()
    disturbed[0, 1:second] = ord("?")
    with torch.no_grad():
        before, after = predict(model, packed), predict(model, replace(packed, ids=disturbed))
    assert torch.allclose(before[0, second:], after[0, second:], atol=1e-5)
    assert not torch.allclose(before[0, 2:second], after[0, 2:second], atol=1e-5)


def test_a_busy_expert_loses_bias_and_bias_decays_when_load_is_even() -> None:
    model = build(tiny(), seed=1)
    balance = LoadBias(model)
    step_loss(model, batch(1, 0, 2, 192))
    bias, chosen = model.model.layers[1].mlp.expert_bias, balance._chosen[0]
    load = torch.bincount(chosen.flatten(), minlength=8)
    balance.update()
    assert bias[load.argmax()] < 0 < bias[load.argmin()]
    bias.fill_(0.5)
    balance._chosen.append(torch.arange(8).reshape(4, 2))
    balance.update()
    assert (bias < 0.5).all()
    assert (bias > 0.5 - LOAD_RATE).all()


def test_the_rate_warms_up_stays_level_and_ends_near_zero() -> None:
    rates = [rate(step, 1000) for step in range(1000)]
    assert rates[0] < 0.05
    assert rates[60] == rates[390] == 1.0
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (3, 24, 24)])
def test_an_orthogonal_update_has_singular_values_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    singular = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert (singular > 0.3).all()
    assert (singular < 1.3).all()
