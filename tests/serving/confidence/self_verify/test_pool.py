"""Children that hang, stop, die or babble cost one answer its check, are replaced, and none is ever left behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from serving.answer import Step
from serving.confidence.self_verify import limits
from serving.confidence.self_verify.child import checked
from serving.confidence.self_verify.frames import BrokenFrame, frame, length_of, steps_of
from serving.confidence.self_verify.pool import SelfVerifier
from serving.confidence.self_verify.unfinished import BUSY, DIED, TOO_SLOW
from serving.confidence.self_verify.verify import steps

STAND_IN = (sys.executable, "-m", "tests.serving.confidence.self_verify.hanging_child")
PATIENT = 30.0  # seconds; only a child that never answers takes as long
ROOT = Path(__file__).parents[4]


@pytest.fixture
async def pool() -> AsyncIterator[SelfVerifier]:
    async with SelfVerifier(seconds=PATIENT, command=STAND_IN) as started:
        yield started


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


async def test_the_real_child_says_what_the_functions_say_and_survives_hostile_text() -> None:
    async with SelfVerifier(seconds=PATIENT) as verifier:
        (pid,) = verifier.pids
        for question, text in [
            ("12 + 7 * 3", "7 * 3 = 21\n12 + 21 = 34\nAnswer: 34"),
            ("√(x + 2) = x", "x + 2 = x^2\nx = 2\nAnswer: 2"),
            ("", "1 + 1 = 2\n" * 5_000),
            ("", "\ud800 + 1 = 1"),
        ]:
            assert await verifier.steps(question, text) == steps(text, question, symbolic=True)
        hostile = "(" * 10_000 + " = " + ")" * 10_000
        assert {step.state for step in await verifier.steps("9^9^9^9 = x", hostile)} == {"unknown"}
        assert await verifier.steps("1 + 1", "") == ()
        assert verifier.pids == (pid,)
    assert is_gone(pid)


@pytest.mark.parametrize(("text", "why"), [("die", DIED), ("babble", DIED)])
async def test_a_child_that_fails_costs_one_answer_and_is_replaced(pool: SelfVerifier, text: str, why: str) -> None:
    (before,) = pool.pids
    assert await pool.steps("", text) == (Step(0, len(text), "unknown", why),)
    (after,) = await pool.steps("", "fine")
    assert after.why != f"by {before}"
    assert is_gone(before)


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_child_that_hangs_is_killed_and_replaced(stopped: bool) -> None:
    async with SelfVerifier(seconds=PATIENT, command=STAND_IN) as pool:
        (before,) = pool.pids
        pool.seconds = 0.05
        if stopped:
            os.kill(before, signal.SIGSTOP)
        found = await pool.steps("", "fine" if stopped else "hang")
        assert [(step.state, step.why) for step in found] == [("unknown", TOO_SLOW)]
        pool.seconds = PATIENT
        (after,) = await pool.steps("", "fine")
        assert (after.state, after.why == f"by {before}") == ("valid", False)
        assert is_gone(before)


async def test_the_event_loop_goes_on_while_a_child_hangs(pool: SelfVerifier) -> None:
    pool.seconds = 0.2
    turns, hung = 0, asyncio.ensure_future(pool.steps("", "hang"))
    while not hung.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 100


async def test_more_answers_than_children_wait_their_turn_and_no_longer(pool: SelfVerifier) -> None:
    found = await asyncio.gather(*(pool.steps("", f"answer {number}") for number in range(20)))
    assert [each[0].end for each in found] == [len(f"answer {number}") for number in range(20)]
    pool.seconds = 0.05
    both = await asyncio.gather(pool.steps("", "hang"), pool.steps("", "fine"))
    assert [each[0].why for each in both] == [TOO_SLOW, BUSY]


async def test_the_answer_of_a_caller_that_gave_up_is_not_read_as_the_next_ones(pool: SelfVerifier) -> None:
    (pid,) = pool.pids
    given_up = asyncio.ensure_future(pool.steps("", "stop"))
    # It has read the text and is about to answer.
    await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)  # were it still there, it would answer now
    (found,) = await pool.steps("", "second one")
    assert (found.state, found.end) == ("valid", len("second one"))


async def test_a_long_answer_is_sent_in_part_and_told_whole(pool: SelfVerifier) -> None:
    (found,) = await pool.steps("", "x" * 1_000_000)
    assert found.end == 1_000_000
    (found,) = await pool.steps("", "x" * limits.CHARACTERS)
    assert found.end == limits.CHARACTERS


async def test_closing_leaves_no_process_even_while_one_hangs() -> None:
    pool = SelfVerifier(children=2, seconds=PATIENT, command=STAND_IN)
    await pool.start()
    hung = asyncio.ensure_future(pool.steps("", "hang"))
    await asyncio.sleep(0)
    pids = pool.pids
    await pool.close()
    assert [step.state for step in await hung] == ["unknown"]
    await pool.close()
    assert pool.pids == ()
    assert all(is_gone(pid) for pid in pids)


async def test_a_program_that_does_not_start_is_told_and_leaves_nothing() -> None:
    for command in (("/nonexistent/python",), (sys.executable, "-c", "pass")):
        pool = SelfVerifier(command=command)
        with pytest.raises((OSError, BrokenFrame)):
            await pool.start()
        assert pool.pids == ()


def test_children_end_with_a_parent_that_was_killed() -> None:
    command = [sys.executable, "-m", "tests.serving.confidence.self_verify.lone_parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone


async def test_a_child_sees_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_MASTER_KEY", "secret")
    async with SelfVerifier(seconds=PATIENT, command=STAND_IN) as pool:
        (pid,) = pool.pids
        assert sorted(psutil.Process(pid).environ()) == ["PATH", "PYTHONPATH", "PYTHONUTF8"]


def test_sympy_is_stopped_in_time_and_what_was_found_without_it_stays() -> None:
    question, text = "√(√(√(x + 1) + x) + x) = x^3 + 1", "1 + 1 = 3\nx = 2\n"  # sympy takes many seconds
    code = f"from {checked.__module__} import checked; print(checked({text!r}, {question!r}, 0.5))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == f"{steps(text, question)}\n"
    assert steps(text, question)[0].state == "invalid"


def test_messages_that_are_none_are_refused() -> None:
    assert steps_of(frame([[0, 3, "valid", ""]])[4:]) == (Step(0, 3, "valid", ""),)
    for body in (b"[[0, 3]]", b"{", b'[[0, 3, "sure", ""]]', b"3", b"\xff", b'[["a", 3, "valid", ""]]'):
        with pytest.raises(BrokenFrame):
            steps_of(body)
    with pytest.raises(BrokenFrame):
        length_of(b"\xff\xff\xff\xff")
