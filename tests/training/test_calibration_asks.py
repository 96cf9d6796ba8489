"""A plan is the same for the same seed, mixes own and foreign questions, and keeps off the measuring half."""

import json
import random
from pathlib import Path

from training import foreign
from training.calibration_asks import plan
from training.fresh_questions import fresh, is_for_measuring
from training.questions import split_of


def test_the_same_seed_plans_the_same_asks() -> None:
    assert plan(3, own=40, foreign_count=10) == plan(3, own=40, foreign_count=10)
    assert plan(3, own=40, foreign_count=10) != plan(4, own=40, foreign_count=10)


def test_every_ask_has_a_name_of_its_own() -> None:
    asks = plan(3, own=400, foreign_count=100)
    assert len({ask.key for ask in asks}) == 500


def test_own_questions_are_held_out_and_not_for_measuring() -> None:
    own = [ask.question.text for ask in plan(5, own=200, foreign_count=20) if not ask.foreign]
    assert len(own) == 200
    assert all(split_of(text) == "held_out" and not is_for_measuring(text) for text in own)


def test_questions_for_measuring_are_held_out_and_of_the_other_half() -> None:
    rng = random.Random(1)
    asked = [fresh(rng, for_measuring=True).text for _ in range(200)]
    assert all(split_of(text) == "held_out" and is_for_measuring(text) for text in asked)


def test_every_kind_of_foreign_question_is_asked() -> None:
    asked = {ask.template for ask in plan(1, own=1, foreign_count=len(foreign.TEMPLATES)) if ask.foreign}
    assert asked == {template for template, _ in foreign.TEMPLATES}


def test_some_asks_are_sampled_some_cut_off_and_some_follow_a_system_prompt() -> None:
    asks = plan(2, own=500, foreign_count=100)
    shares = {
        "greedy": sum(ask.temperature == 0 for ask in asks) / len(asks),
        "cut": sum(ask.max_tokens is not None for ask in asks) / len(asks),
        "system": sum(ask.messages[0][0] == "system" for ask in asks) / len(asks),
    }
    assert 0.7 < shares["greedy"] < 0.9
    assert 0.01 < shares["cut"] < 0.08
    assert 0.1 < shares["system"] < 0.3
    assert all(ask.messages[-1] == ("user", ask.question.text) for ask in asks)


def test_gsm8k_questions_join_as_one_foreign_kind_without_a_right_answer(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"question": f"Story {i}?", "answer": "#### 5"}) + "\n" for i in range(9)))
    added = [ask for ask in plan(1, own=5, foreign_count=16, gsm8k=path) if ask.template == "gsm8k"]
    assert len(added) == 4
    assert all(ask.question.answer == "" for ask in added)
