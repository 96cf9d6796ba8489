"""Samples are drawn one by one, only inside the band, never more than allowed, and a failing one ends it."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.answer import Confidence, Usage
from serving.confidence.cascade import Cascade, Sample, compared, sample_seed, wants_another

BAND = Cascade(low=0.1, high=0.93, most=4, temperature=1.0)


def of(value: float | None) -> Confidence:
    return Confidence(value=value, calibration_id="cal_1", calibrated=value is not None)


@pytest.mark.parametrize(
    ("confidence", "drawn", "wanted"),
    [
        (0.5, 0, True),
        (0.5, 3, True),
        (0.5, 4, False),
        (0.1, 0, False),
        (0.93, 0, False),
        (0.101, 0, True),
        (0.0, 0, False),
        (1.0, 0, False),
        (None, 0, False),
        (float("nan"), 0, False),
    ],
)
def test_another_is_wanted_only_inside_the_band(confidence: float | None, drawn: int, wanted: bool) -> None:
    assert wants_another(confidence, drawn, BAND) is wanted


def test_without_a_cascade_none_is_wanted() -> None:
    assert not wants_another(0.5, 0, None)


def carried_out(values: list[float | None], failing_at: int | None = None) -> tuple[Confidence, Usage, list[int]]:
    """`values`: the confidence with 0, 1, … samples."""
    asked: list[int] = []

    async def draw(number: int) -> Sample | None:
        asked.append(number)
        return None if number == failing_at else Sample(f"answer {number}", Usage(10, 3))

    def judge(samples: tuple[str, ...]) -> Confidence:
        assert samples == tuple(f"answer {number}" for number in range(len(samples)))
        return of(values[len(samples)])

    confidence, usage = asyncio.run(compared(of(values[0]), BAND, draw, judge))
    return confidence, usage, asked


@given(st.lists(st.none() | st.floats(0, 1), min_size=6, max_size=6))
def test_every_sample_was_drawn_from_inside_the_band_and_none_more_than_four(values: list[float | None]) -> None:
    confidence, usage, asked = carried_out(values)
    drawn = len(asked)
    assert drawn <= 4
    assert all(0.1 < (values[before] or 0.0) < 0.93 for before in range(drawn))
    assert drawn == 4 or not 0.1 < (values[drawn] or 0.0) < 0.93
    assert (confidence.value, confidence.samples) == (values[drawn], drawn)
    assert usage == Usage(10 * drawn, 3 * drawn)


def test_a_sample_that_fails_leaves_the_confidence_that_was_reached() -> None:
    confidence, usage, asked = carried_out([0.5, 0.6, 0.7, 0.8, 0.9], failing_at=2)
    assert asked == [0, 1, 2]
    assert (confidence.value, confidence.samples, usage) == (0.7, 2, Usage(20, 6))


def test_where_samples_leave_nothing_to_vouch_the_confidence_is_unknown() -> None:
    confidence, _, asked = carried_out([0.5, None, 0.99])
    assert (confidence.value, asked) == (None, [0])


def test_a_stage_count_beyond_the_most_is_never_reached() -> None:
    assert not wants_another(0.5, 4, replace(BAND, most=9))


def test_seeds_of_samples_follow_from_the_request_s_and_differ() -> None:
    seeds = [sample_seed(7, number) for number in range(4)]
    assert seeds == [sample_seed(7, number) for number in range(4)]
    assert len({*seeds, *(sample_seed(8, number) for number in range(4))}) == 8
    assert all(0 <= seed < 2**31 for seed in seeds if seed is not None)
    assert sample_seed(None, 0) is None
