"""The repair benchmark counts what it says and reads from the replicas' log who is at work and who was repaired."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.repair import figures, is_sound
from benchmarks.repair_caller import Asked, Undisturbed, undisturbed_of
from benchmarks.repair_kills import Gang, Kill, Repair, at_work, kill_ranks, repairs_in
from serving.answer import Answer, Confidence, PromptTrace, TokenTrace, Usage, answer_to_json

EXPECTED = [Undisturbed("four", 0.5), Undisturbed("nine", 1e-4)]
SOUND = {"kills": 1, "unrepaired": 0, "failed": 0, "different_answers": 0}
GANG = Gang("r1", 1, (10, 11), 100.0)


@pytest.mark.parametrize(
    ("asked", "counted"),
    [
        (Asked(0, 200, 1.0, "four"), {}),
        (Asked(0, 202, 1.0, "four", "rev_1"), {}),
        (Asked(0, 200, 1.0, "five"), {"different_answers": 1}),
        (Asked(1, 200, 1.0, "ten"), {"different_at_near_ties": 1}),
        (Asked(0, 503, 1.0), {"failed": 1}),
        (Asked(1, 0, 1.0), {"failed": 1}),
    ],
)
def test_what_callers_saw_is_counted(asked: Asked, counted: dict[str, int]) -> None:
    told = figures([asked], EXPECTED, [])
    names = ("failed", "different_answers", "different_at_near_ties")
    assert {name: told[name] for name in names} == {**dict.fromkeys(names, 0), **counted}
    assert (told["requests"], told["near_tie_questions"]) == (1, 1)


def test_repairs_are_summed_up() -> None:
    repairs = [Repair(Kill(GANG, 0, 0.0), seconds, in_place) for seconds, in_place in ((0.2, True), (7.0, False))]
    told = figures([], EXPECTED, [*repairs, repairs[0]])
    assert told["repair_s"] == {"median": 0.2, "max": 7.0}
    assert told["in_place"] == 2
    assert figures([], EXPECTED, [])["repair_s"] == {"median": None, "max": None}


@pytest.mark.parametrize("wrong", [{"kills": 0}, {"unrepaired": 1}, {"failed": 1}, {"different_answers": 1}])
def test_only_what_nobody_noticed_is_sound(wrong: dict[str, int]) -> None:
    assert is_sound(SOUND)
    assert not is_sound({**SOUND, **wrong})


def test_the_least_margin_is_that_of_the_closest_choice() -> None:
    tokens = tuple(
        TokenTrace("a", 1, best, (("a", best), ("b", next_best))) for best, next_best in ((-0.1, -3), (-1, -1.5))
    )
    nothing = Confidence(None, None, False)
    answer = Answer("aa", "stop", tokens, PromptTrace(1, None), nothing, Usage(1, 2), "m")
    assert undisturbed_of(answer_to_json(answer)) == Undisturbed("aa", pytest.approx(0.5))


def test_a_gang_is_at_work_from_ready_to_lost(tmp_path: Path) -> None:
    log = written(tmp_path, ready("r1", 1, [10, 11], 1), ready("r2", 1, [20, 21], 2), lost("r1", 1, 3))
    assert [gang.pids for gang in at_work(log)] == [(20, 21)]


@pytest.mark.parametrize(("pids", "in_place"), [([10, 12], True), ([13, 12], False)])
def test_a_repair_ends_when_the_gang_is_ready_in_a_later_epoch(tmp_path: Path, pids: list[int], in_place: bool) -> None:
    kill = Kill(GANG, 1, 100.5)
    log = written(tmp_path, ready("r2", 5, [1, 2], 101), lost("r1", 1, 101), ready("r1", 3, pids, 102))
    assert repairs_in(log, [kill]) == [Repair(kill, 1.5, in_place)]
    assert repairs_in(written(tmp_path, ready("r1", 1, [10, 11], 102)), [kill]) == []


async def test_nothing_is_killed_while_no_gang_is_at_work(tmp_path: Path) -> None:
    log = written(tmp_path, ready("r1", 1, [10, 11], 1), lost("r1", 1, 2))
    assert await kill_ranks(log, random.Random(1), every=0.1, seconds=0.5) == []


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    log = folder / "replicas.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"event": "gang.re')
    return log


def ready(replica: str, epoch: int, pids: list[int], at: float) -> dict[str, Any]:
    return {"event": "gang.ready", "replica": replica, "epoch": epoch, "pids": pids, "timestamp": stamp(at)}


def lost(replica: str, epoch: int, at: float) -> dict[str, Any]:
    return {"event": "rank.lost", "replica": replica, "epoch": epoch, "rank": 0, "timestamp": stamp(at)}


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
