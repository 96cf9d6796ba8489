"""The engine over real rank processes: what it answers, what it refuses, and how it fails."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from serving.engine.engine import Engine
from serving.engine.errors import Aborted, ContextTooLong, EngineClosed, InvalidRequest, Overloaded, RankLost
from serving.engine.generation import Generated, GenerationRequest, Message
from serving.engine.local import local_engine
from tests.serving.tiny_checkpoint import CONTEXT, reference_logits, write_tiny_checkpoint

SIZES = {"kv_tokens": 4 * CONTEXT, "most_running": 4, "step_tokens": 32}
WAIT = 60.0  # seconds; only how long a broken test hangs


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Path) -> Iterator[Engine]:
    with local_engine(tiny_checkpoint, ranks=2, most_waiting=40, **SIZES) as engine:
        yield engine


def ask(name: str, text: str = "What is 2+2?", **parameters: object) -> GenerationRequest:
    return GenerationRequest(name, (Message("user", text),), **parameters)  # type: ignore[arg-type]


def ids(generated: Generated) -> list[int]:
    return [token.token_id for token in generated.tokens]


def endless(name: str) -> GenerationRequest:
    """One that still runs when the test acts; the tiny model's greedy answers do not end by themselves."""
    return ask(name, max_tokens=CONTEXT - 40)


def test_an_answer_is_what_transformers_would_say(engine: Engine, tiny_checkpoint: Path) -> None:
    generated = engine.submit(ask("greedy", max_tokens=20, top_logprobs=3)).result(WAIT)
    prompt = [257, 260, *b"What is 2+2?", 261]
    logprobs = reference_logits(tiny_checkpoint, prompt + ids(generated)).double().log_softmax(1)
    for place, token in enumerate(generated.tokens, len(prompt) - 1):
        assert token.token_id == int(logprobs[place].argmax())
        assert token.logprob == pytest.approx(float(logprobs[place].max()), abs=1e-4)
        assert [p for _, p in token.top] == pytest.approx(logprobs[place].topk(3).values.tolist(), abs=1e-4)
        assert token.entropy == pytest.approx(float(-(logprobs[place].exp() * logprobs[place]).sum()), abs=1e-3)
        assert token.gate_entropy is not None
    content = [float(logprobs[place, token]) for place, token in enumerate(prompt[2:-1], 1)]
    assert generated.prompt.tokens == len(prompt)
    assert generated.prompt.mean_logprob == pytest.approx(sum(content) / len(content), abs=1e-4)
    assert generated.usage.prompt_tokens == len(prompt)
    assert generated.text == "".join(token.text for token in generated.tokens)


def test_max_tokens_ends_an_answer_by_length(engine: Engine) -> None:
    generated = engine.submit(ask("short", max_tokens=3)).result(WAIT)
    assert generated.finish_reason == "length"
    assert generated.usage.completion_tokens == len(generated.tokens) == 3


def test_a_stop_string_ends_an_answer_before_it(engine: Engine) -> None:
    whole = engine.submit(ask("whole", max_tokens=30)).result(WAIT)
    stop = whole.text[8:10]
    generated = engine.submit(ask("stopped", max_tokens=30, stop=(stop,))).result(WAIT)
    assert generated.finish_reason == "stop"
    assert generated.text == whole.text[: whole.text.index(stop)]
    assert generated.text == "".join(token.text for token in generated.tokens)


def test_greedy_answers_do_not_depend_on_batch_neighbours(engine: Engine) -> None:
    alone = engine.submit(ask("alone", max_tokens=24)).result(WAIT)
    futures = [engine.submit(ask(f"crowd-{n}", "x" * n, max_tokens=20 + n, temperature=1.0)) for n in range(12)]
    beside = engine.submit(ask("beside", max_tokens=24)).result(WAIT)
    assert ids(beside) == ids(alone)
    for future in futures:
        future.result(WAIT)


def test_a_seed_gives_the_same_answer_in_any_company(engine: Engine) -> None:
    first = engine.submit(ask("first", max_tokens=24, temperature=1.0, seed=7)).result(WAIT)
    crowd = [engine.submit(ask(f"others-{n}", max_tokens=30, temperature=1.0, seed=n)) for n in range(12)]
    second = engine.submit(ask("second", max_tokens=24, temperature=1.0, seed=7)).result(WAIT)
    assert ids(first) == ids(second)
    assert len({tuple(ids(future.result(WAIT))) for future in crowd}) > 1


def test_both_ranks_hold_sequences_and_all_blocks_come_back(engine: Engine) -> None:
    futures = [engine.submit(ask(f"spread-{n}", max_tokens=12)) for n in range(8)]
    assert {future.result(WAIT).rank for future in futures} == {0, 1}
    assert engine.stats().free_blocks == (4 * CONTEXT // 16,) * 2


def test_a_generation_that_has_ended_is_not_kept_for_the_garbage_collector(engine: Engine) -> None:
    gc.disable()
    try:
        future = engine.submit(ask("kept", max_tokens=2))
        future.result(WAIT)
        kept = weakref.ref(future)
        del future
        for number in range(2):  # the engine's thread may still look at the last one that ended
            engine.submit(ask(f"next {number}", max_tokens=2)).result(WAIT)
        assert kept() is None
    finally:
        gc.enable()


def test_a_cancelled_future_leaves_the_engine(engine: Engine) -> None:
    future = engine.submit(endless("cancelled"))
    assert future.cancel()
    engine.submit(ask("after", max_tokens=2)).result(WAIT)
    assert engine.stats().running == engine.stats().waiting == 0


def test_one_given_up_while_it_generates_frees_its_blocks_at_the_next_step(engine: Engine) -> None:
    all_free = engine.stats().free_blocks
    gone = engine.submit(endless("gone"))
    engine.submit(ask("beside", max_tokens=3)).result(WAIT)  # by then it runs
    held = engine.stats().free_blocks
    gone.cancel()
    engine.submit(ask("after", max_tokens=1)).result(WAIT)  # answered by a step, before which orders were taken
    assert sum(held) < sum(all_free)
    assert engine.stats().free_blocks == all_free


def test_as_many_stop_strings_as_are_allowed_end_an_answer_where_the_first_of_them_stands(engine: Engine) -> None:
    whole = engine.submit(ask("whole of many", max_tokens=30)).result(WAIT)
    stop = (*(f"never {number}" for number in range(63)), whole.text[8:10])
    generated = engine.submit(ask("one of many", max_tokens=30, stop=stop)).result(WAIT)
    assert generated.text == whole.text[: whole.text.index(whole.text[8:10])]


def test_tokens_that_take_longer_than_the_target_leave_as_few_running_as_are_always_granted(
    tiny_checkpoint: Path,
) -> None:
    with local_engine(tiny_checkpoint, ranks=1, token_seconds=1e-9, least_running=2, **SIZES) as engine:
        running = []
        futures = [engine.submit(ask(f"many-{number}", max_tokens=8)) for number in range(12)]
        for future in futures:
            future.result(WAIT)
            running.append(engine.stats().running)
        assert max(running) <= 2
        assert engine.stats().running_limit == 2


def test_an_aborted_generation_fails_with_aborted(engine: Engine) -> None:
    future = engine.submit(endless("aborted"))
    engine.abort("aborted")
    with pytest.raises(Aborted):
        future.result(WAIT)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"stop": ("",)}, "stop"),
        ({"stop": tuple(f"stop {number}" for number in range(5_000))}, "stop"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(engine: Engine, parameters: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        engine.submit(ask("bad", **parameters))
    assert caught.value.parameter == named


def test_a_prompt_beyond_the_context_is_refused_before_anything_runs(engine: Engine) -> None:
    steps = engine.stats().steps
    with pytest.raises(ContextTooLong) as caught:
        engine.submit(ask("long", "x" * (CONTEXT - 3)))
    assert caught.value.limit == CONTEXT
    with pytest.raises(ContextTooLong):
        engine.submit(ask("much", max_tokens=CONTEXT))
    assert engine.stats().steps == steps


def test_a_prompt_that_just_fits_is_answered(engine: Engine) -> None:
    generated = engine.submit(ask("fits", "x" * (CONTEXT - 4))).result(WAIT)
    assert generated.usage.prompt_tokens == CONTEXT - 1
    assert generated.usage.completion_tokens == 1


def test_an_id_in_flight_is_not_taken_twice(engine: Engine) -> None:
    future = engine.submit(endless("twice"))
    with pytest.raises(InvalidRequest, match="request_id"):
        engine.submit(endless("twice"))
    future.cancel()


def test_more_than_may_wait_is_refused_and_what_waits_is_answered(tiny_checkpoint: Path) -> None:
    with local_engine(tiny_checkpoint, ranks=1, most_waiting=1, **SIZES) as engine:
        held = [engine.submit(endless(f"held-{n}")) for n in range(SIZES["most_running"] + 1)]
        with pytest.raises(Overloaded) as caught:
            engine.submit(ask("refused"))
        assert caught.value.retry_after > 0
        assert all(future.result(WAIT).finish_reason for future in held)


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_rank_fails_every_generation_and_the_engine(tiny_checkpoint: Path, ended: int) -> None:
    told: list[RankLost] = []
    with local_engine(tiny_checkpoint, ranks=2, exchange_seconds=300.0, step_seconds=300.0, **SIZES) as engine:
        engine._on_lost = told.append
        futures = [engine.submit(endless(f"lost-{n}")) for n in range(12)]  # running and waiting
        os.kill(engine.reports[1].pid, ended)
        for future in futures:
            with pytest.raises(RankLost):
                future.result(WAIT)  # far sooner than any time limit of the engine
        with pytest.raises(RankLost):
            engine.submit(ask("late"))
        assert not engine.stats().alive
        os.kill(engine.reports[0].pid, signal.SIGKILL)  # it waits in an exchange for the lost one
    assert len(told) == 1


def test_a_rank_that_dies_while_nothing_runs_is_noticed(tiny_checkpoint: Path) -> None:
    with local_engine(tiny_checkpoint, ranks=1, **SIZES) as engine:
        noticed: Future[RankLost] = Future()
        engine._on_lost = noticed.set_result
        os.kill(engine.reports[0].pid, signal.SIGKILL)
        assert noticed.result(WAIT).rank == 0


def test_a_stalled_rank_is_given_up_after_the_time_limit(tiny_checkpoint: Path) -> None:
    with local_engine(tiny_checkpoint, ranks=2, exchange_seconds=0.5, step_seconds=60.0, **SIZES) as engine:
        os.kill(engine.reports[1].pid, signal.SIGSTOP)
        try:
            with pytest.raises(RankLost, match="rank 1 did not arrive at an exchange within"):
                engine.submit(endless("stalled")).result(WAIT)
        finally:
            os.kill(engine.reports[1].pid, signal.SIGCONT)


def test_closing_fails_what_is_in_flight_and_refuses_more(tiny_checkpoint: Path) -> None:
    with local_engine(tiny_checkpoint, ranks=1, **SIZES) as engine:
        future = engine.submit(endless("open"))
        engine.close()
        with pytest.raises(EngineClosed):
            future.result(WAIT)
        with pytest.raises(EngineClosed):
            engine.submit(ask("closed"))


def test_an_engine_that_ends_while_a_generation_is_handed_in_fails_that_generation(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_engine(tiny_checkpoint, ranks=1, **SIZES) as engine:

        class HandedInAtTheEnd(Future[Generated]):
            def add_done_callback(self, fn: Callable[[Future[Generated]], object]) -> None:
                engine.close()  # its thread has ended and its descriptors are closed
                super().add_done_callback(fn)

        prepare = engine._admission.prepare
        monkeypatch.setattr(
            engine._admission, "prepare", lambda request: replace(prepare(request), future=HandedInAtTheEnd())
        )
        future = engine.submit(endless("late"))
        with pytest.raises(EngineClosed):
            future.result(WAIT)


def test_a_rank_that_cannot_load_its_shard_says_why(tmp_path: Path) -> None:
    broken = write_tiny_checkpoint(tmp_path / "broken")
    config = (broken / "config.json").read_text().replace('"moe_intermediate_size": 24', '"moe_intermediate_size": 20')
    (broken / "config.json").write_text(config)
    with pytest.raises(RankLost, match="has shape"), local_engine(broken, ranks=1, **SIZES):
        pass


def test_the_drivers_side_imports_no_torch() -> None:
    program = "import sys, serving.engine.local, serving.engine.engine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_nothing_stays_on_disk_while_an_engine_runs(engine: Engine) -> None:
    settings_directory = {entry.name for entry in Path("/dev/shm").iterdir() if entry.name.startswith("countersign-")}
    mapped = Path(f"/proc/{engine.reports[0].pid}/maps").read_text()
    shared = [line for line in mapped.splitlines() if "/dev/shm/countersign-" in line]
    assert shared
    assert all(line.endswith("(deleted)") for line in shared)
    names = {Path(line.split()[-2]).name for line in shared}
    assert names.isdisjoint(settings_directory)
