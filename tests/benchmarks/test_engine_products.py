"""Figures of packed experts say what they claim to say."""

from __future__ import annotations

from pathlib import Path

from benchmarks.engine_int4_quality import quality
from benchmarks.engine_products import ratios
from training.evaluate import held_out

REFERENCE = Path("serving/checkpoints/reference")


def test_of_four_and_eight_rows_the_worse_one_counts() -> None:
    hot = {str(rows): {"int4_over_bf16": ratio} for rows, ratio in ((1, 1.3), (4, 3.0), (8, 2.4), (32, 0.5))}
    assert ratios({"square_hot": hot}) == {"int4_product_ratio": 2.4, "int4_product_ratio_1row": 1.3}


def test_a_checkpoint_loses_nothing_against_itself() -> None:
    found = quality(REFERENCE, REFERENCE, held_out(seed=3, per_cell=1)[:3])
    assert found["questions"] == 3
    assert found["tokens"] > 3 * 20
    assert found["logit_difference_mean"] == 0
    assert found["same_greedy_token"] == found["same_answer"] == 1
    assert found["accuracy_floats"] == found["accuracy_int4"] > 0
    assert found["only_floats_right"] == found["only_int4_right"] == 0
