"""The overload benchmark counts what it says, and its whole way works on a gateway process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks import overload
from benchmarks.overload import PARALLEL, figures
from benchmarks.overload_caller import Sent

GOOD = Sent(0.1, 200, id="chatcmpl-1")
HELD = Sent(0.3, 202, id="chatcmpl-2")
BUSY, FULL = Sent(0.01, 429, "1"), Sent(0.01, 503, "1")
RECORDED = {"chatcmpl-1", "chatcmpl-2"}


def test_figures_are_of_the_overload_and_compare_with_the_normal_load() -> None:
    told = figures([GOOD], [GOOD, HELD, BUSY, FULL, FULL], RECORDED)
    counted = {name: told[name] for name in ("accepted", "refused", "refused_429", "refused_503", "normal_refused")}
    assert counted == {"accepted": 2, "refused": 3, "refused_429": 1, "refused_503": 2, "normal_refused": 0}
    times = ("normal_p50_ms", "normal_p99_ms", "overload_p50_ms", "overload_p99_ms", "p99_ratio")
    assert [told[name] for name in times] == pytest.approx([100, 100, 100, 300, 3])


@pytest.mark.parametrize(
    ("sent", "wrong"),
    [
        (GOOD, {}),
        (Sent(0.1, 200, id="chatcmpl-lost"), {"lost": 1}),
        (FULL, {}),
        (Sent(0.01, 503), {"refused_without_retry_after": 1}),
        (Sent(0.01, 429), {"refused_without_retry_after": 1}),
        (Sent(0.01, 500), {"failed": 1}),
        (Sent(0.01, 0), {"failed": 1}),
    ],
)
def test_what_goes_wrong_under_either_load_is_told_and_fails(
    monkeypatch: pytest.MonkeyPatch, sent: Sent, wrong: Mapping[str, int]
) -> None:
    right = {"lost": 0, "refused_without_retry_after": 0, "failed": 0}
    for normal, over in (([GOOD, sent], [GOOD]), ([GOOD], [GOOD, sent])):
        told = figures(normal, over, RECORDED)
        assert {name: told[name] for name in right} == {**right, **wrong}
        monkeypatch.setattr(overload, "measure", lambda _, told=told: told)
        assert overload.main([]) == (1 if wrong else 0)


def test_a_short_overload_of_a_real_gateway_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--parallel", "8", "--answer-seconds", "0.2", "--seconds", "1", "--seed", "1", "--json"]
    assert overload.main(few) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["lost"], told["failed"], told["refused_without_retry_after"]) == (0, 0, 0)
    assert told["accepted"] > 0
    assert told["places"] + told["line"] < 2 * PARALLEL  # else what is accepted takes over twice as long as normally
