"""The figures of an exchange come from real ranks, and a choice is right where the chosen way is not the slower one."""

from benchmarks.engine_exchange import measure, right_choices


def test_both_ways_are_timed_by_ranks_that_meet() -> None:
    figures = measure(ranks=[2], rows=[4], hidden=[16], repeats=5, backends=["shm"])
    (one,) = figures["exchanges"]
    assert one["gathered_us"] > 0
    assert one["dispatched_us"] > 0
    assert one["chosen"] == "gathered"


def test_a_choice_is_wrong_where_the_other_way_is_clearly_faster() -> None:
    def found(chosen: str, ratio: float) -> dict[str, object]:
        return {"chosen": chosen, "ratio": ratio}

    right = [found("dispatched", 1.5), found("dispatched", 0.95), found("gathered", 0.5), found("gathered", 1.05)]
    assert right_choices(right) == 1.0
    assert right_choices([*right, found("gathered", 1.5), found("dispatched", 0.5)]) == 0.667
