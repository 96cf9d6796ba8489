"""Plans and answers read back as they were written, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engine.opened_plan import open_plan
from serving.engine.plan import (
    NO_TARGET,
    Choice,
    PlanError,
    RankAnswer,
    RankPlan,
    Sampling,
    SequenceStep,
    drawn_rows,
    pack_answer,
    pack_plan,
    read_choice,
    unpack_answer,
    was_drawn,
)

ids = st.integers(0, 2**40)
samplings = st.builds(Sampling, st.floats(0, 2), st.floats(0, 1, exclude_min=True), st.integers(0, 2**63 - 1))


@st.composite
def steps(draw: st.DrawFn) -> SequenceStep:
    tokens = draw(st.lists(ids, min_size=1, max_size=6))
    targets = draw(st.lists(st.just(NO_TARGET) | ids, min_size=len(tokens), max_size=len(tokens)))
    start, blocks = draw(ids), draw(st.lists(ids, min_size=1, max_size=5))
    return SequenceStep(tokens, start, blocks, draw(st.booleans()), draw(ids), draw(samplings), targets)


@settings(deadline=None)
@given(ids, st.lists(ids, min_size=1, max_size=4), st.lists(steps(), max_size=5), st.integers(0, 20), st.booleans())
def test_a_plan_reads_back_as_written(
    step: int, counts: list[int], sequences: list[SequenceStep], top_k: int, want_logits: bool
) -> None:
    how = {"placement": step // 2, "may_keep": step % 2 == 0, "reads_prompts": step % 3 == 0}
    read = open_plan(pack_plan(RankPlan(step, tuple(counts), tuple(sequences), top_k, want_logits, **how)))
    assert (read.step, read.counts, read.top_k, read.want_logits) == (step, tuple(counts), top_k, want_logits)
    assert {name: getattr(read, name) for name in how} == how
    assert read.starts.tolist() == [wanted.start for wanted in sequences]
    assert read.lengths.tolist() == [len(wanted.tokens) for wanted in sequences]
    assert [bool(sampled) for sampled in read.sampled] == [wanted.sampled for wanted in sequences]
    assert read.draws.numbers.tolist() == [wanted.draw for wanted in sequences]
    drawing = zip(read.draws.temperatures.tolist(), read.draws.top_ps.tolist(), read.draws.seeds.tolist(), strict=True)
    assert [Sampling(*each) for each in drawing] == [wanted.sampling for wanted in sequences]
    assert read.tokens.tolist() == [token for wanted in sequences for token in wanted.tokens]
    assert read.targets.tolist() == [target for wanted in sequences for target in wanted.targets or []]
    for got, wanted in zip(read.tables.tolist(), sequences, strict=True):
        width = len(wanted.blocks)
        assert (got[:width], set(got[width:]) - {0}) == (list(wanted.blocks), set())  # padded to the widest


def test_an_answer_reads_back_as_written() -> None:
    choice = Choice(261, -0.5, 1.25, 3.5, ((261, -0.5), (7, -1.5)))
    logits = np.arange(6, dtype=np.float32).reshape(3, 2)
    load = np.arange(8).reshape(2, 4)
    written = RankAnswer(7, drawn_rows([None, choice], 2), np.array([np.nan, -2.0, -3.0]), logits, 0.25, 0.125, load)
    read = unpack_answer(pack_answer(written))
    assert [read_choice(row) if was_drawn(row) else None for row in read.drawn.tolist()] == [None, choice]
    assert (read.step, read.compute_seconds, read.exchange_seconds) == (7, 0.25, 0.125)
    np.testing.assert_array_equal(read.target_logprobs, written.target_logprobs)
    np.testing.assert_array_equal(read.logits, logits)
    np.testing.assert_array_equal(read.expert_load, load)


@pytest.mark.parametrize("cut", [8, 40, -8])
def test_a_message_of_the_wrong_length_is_refused(cut: int) -> None:
    plan = pack_plan(RankPlan(1, (2,), (SequenceStep([1, 2], 0, [0]),)))
    answer = pack_answer(RankAnswer(1, drawn_rows([None], 2), np.array([np.nan]), None, 0.0, 0.0))
    with pytest.raises(PlanError):
        open_plan(plan[:cut])
    with pytest.raises(PlanError):
        unpack_answer(answer[:cut])
