"""docs/calibrating.md shows lines that are read, and names every field, figure and number of the code."""

import re
from pathlib import Path

import pytest

from training.calibration_figures import GROUP_AT_LEAST, THRESHOLD
from training.calibration_fitting import LEAST_ANSWERS
from training.calibration_maps import ISOTONIC_FROM
from training.labelled_answers import FIELDS, read_answers
from training.labelled_columns import Columns

TEXT = (Path(__file__).parents[2] / "docs" / "calibrating.md").read_text(encoding="utf-8")


def test_its_example_is_read(tmp_path: Path) -> None:
    example = re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    (tmp_path / "answers.jsonl").write_text(example[1], encoding="utf-8")
    answers = read_answers(tmp_path / "answers.jsonl", None, Columns({})).answers
    assert [(graded.row.right, graded.row.signals["logprob_sum"]) for graded in answers] == [
        (True, -0.02),
        (False, -0.9),
    ]


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "prompt_logprob_mean"])
def test_it_explains_every_field(field: str) -> None:
    assert re.search(rf"^\| .*`{field}`.*\|", TEXT, re.MULTILINE)


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"At least {LEAST_ANSWERS} answers" in TEXT
    assert f"Under {ISOTONIC_FROM} fitted answers" in TEXT
    assert f"of those with {GROUP_AT_LEAST} answers" in TEXT
    assert f"a confidence of {THRESHOLD} or more" in TEXT
