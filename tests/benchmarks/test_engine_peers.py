"""The peers of the engine: the checkpoint they share, how all are timed, what is refused, what is made of the times."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import engine_compared, engine_own_rates, engine_peer_environments, engine_peers
from benchmarks.engine_model import Shape, make
from benchmarks.peers.engine import by_transformers, timed
from serving.model.checkpoint import open_checkpoint
from training.tokens import PAD, VOCAB_SIZE

SMALL = Shape(vocabulary=300, layers=2, hidden=32, experts=8, expert_size=16, heads=4, head_dim=8, context=128)


@pytest.fixture(autouse=True)
def _no_peers_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERSIGN_PEERS", raising=False)


@pytest.fixture
def _as_many_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# -- the checkpoint ----------------------------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    first, again, other = (make(tmp_path / name, seed, SMALL) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    files = sorted(path.name for path in first.iterdir())
    assert files == ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in files)
    assert open_checkpoint(first).digest != open_checkpoint(other).digest


def test_the_compared_model_has_the_sizes_that_are_said_of_it(tmp_path: Path) -> None:
    config = open_checkpoint(make(tmp_path, shape=SMALL)).config
    assert (config.model_type, config.layers, config.experts, config.expert_size) == ("qwen3_moe", 2, 8, 16)
    assert (tmp_path / "model.safetensors").stat().st_size == pytest.approx(4 * SMALL.parameters, rel=0.1)
    assert Shape().parameters == 26_151_424


@pytest.mark.usefixtures("_as_many_threads_afterwards")
def test_our_engine_and_transformers_answer_alike_and_never_end_by_themselves(tmp_path: Path) -> None:
    checkpoint = make(tmp_path / "checkpoint", shape=SMALL)
    asked = engine_peers.questions(checkpoint, [1, 3], tokens=8, rounds=1)
    timed.write(asked, tmp_path / "asked.json")
    by_transformers.main(str(tmp_path / "asked.json"), str(tmp_path / "found.json"))
    ours = engine_own_rates.measure(asked)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    for batch in (1, 3):
        theirs = found["batches"][str(batch)]
        assert [len(row) for row in theirs["ids"]] == [16] * batch
        assert not any(PAD <= token < VOCAB_SIZE for row in theirs["ids"] for token in row)
        assert engine_own_rates.differing(ours[batch], theirs) == 0
        assert sum(margin < engine_own_rates.MARGIN for row in ours[batch]["margins"] for margin in row) <= batch
    assert found["versions"].keys() == {"transformers", "torch"}


# -- times -------------------------------------------------------------------------------------------------------------


def test_prompts_and_what_happens_once_drop_out_of_a_rate() -> None:
    def generate(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        nonlocal used
        used += 100.0 + 0.5 * tokens  # a second prefill as long would change nothing
        return [[1] * tokens for _ in prompts]

    used = 0.0
    asked = timed.Asked("", [[5]] * 4, [4], tokens=10, rounds=3)
    found = timed.rates(generate, asked, 4, clock=lambda: used)
    assert found["tok_s_used"] == 4 * 10 / 5.0
    assert found["ids"] == [[1] * 20] * 4
    assert len(found["seconds"]) == 3


def test_the_median_round_counts_and_mere_noise_is_no_rate() -> None:
    assert timed.rate([(1.0, 2.0), (1.0, 1.5), (1.0, 90.0)], 10) == 10.0
    assert timed.rate([(2.0, 1.9), (1.0, 1.0)], 10) is None


def test_an_engine_that_stops_early_has_no_rate() -> None:
    asked = timed.Asked("", [[5]], [1], tokens=4, rounds=1)
    with pytest.raises(timed.WrongLength, match=r"\[7\] tokens instead of 8"):
        timed.all_rates(lambda prompts, tokens: [[1] * (tokens - 1)], asked)


# -- environments ------------------------------------------------------------------------------------------------------


def test_without_the_peers_nothing_is_measured_and_the_way_to_them_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_HOME", str(tmp_path))
    assert engine_compared.main(["--json"]) == 2
    told = capsys.readouterr()
    assert "vllm, llama_cpp missing" in told.err
    assert "./run bench engine --prepare" in told.err
    assert told.out == ""
    with pytest.raises(engine_peers.PeersNotReady):
        engine_peers.measure_one("llama_cpp", tmp_path, timed.Asked("", [[5]], [1], 4, 1))


def test_an_environment_of_another_recipe_is_made_anew_and_one_of_this_recipe_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(engine_peer_environments, "_run", lambda command, settings=None: ran.append(command))
    stamps = {name: stamp(tmp_path, name) for name in engine_peer_environments.ENVIRONMENTS}
    engine_peers.prepare(tmp_path)
    assert ran == []
    stamps["vllm"].write_text("of another recipe", encoding="utf-8")
    with pytest.raises(engine_peers.PeersNotReady, match=r"\(vllm missing\)"):
        engine_peers.require(tmp_path)
    engine_peers.prepare(tmp_path)
    engine_peers.require(tmp_path)
    assert ran[0][1:3] == ["-m", "venv"]
    assert any("--no-deps" in command and engine_peer_environments.VLLM in command for command in ran)
    assert not any("wheel" in command for command in ran)


def test_preparing_without_a_compiler_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engine_peers.PeersNotReady, match="apt-get install g"):
        engine_peers.prepare(tmp_path)


def stamp(home: Path, name: str) -> Path:
    made = engine_peer_environments.folder_of(home) / name / ".prepared"
    made.parent.mkdir(parents=True)
    made.write_text(engine_peer_environments.ENVIRONMENTS[name].recipe(), encoding="utf-8")
    return made


# -- a peer's program --------------------------------------------------------------------------------------------------

ANSWERS = """
import json, os, sys
asked = json.load(open(sys.argv[3]))
rates = {str(batch): {"tok_s": 7.0, "tok_s_used": 8.0, "ids": []} for batch in asked["batches"]}
found = {"batches": rates, "versions": {"cores": sorted(os.sched_getaffinity(0)), "module": sys.argv[2],
    "threads": os.environ["OMP_NUM_THREADS"], "more": sys.argv[5:]}, "load": [0.5, 0.5, 0.5]}
json.dump(found, open(sys.argv[4], "w"))
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """A home whose environment of vLLM runs the given program instead."""

    def make_home(source: str) -> Path:
        stamp(tmp_path, "vllm")
        (tmp_path / "program.py").write_text(source, encoding="utf-8")
        python = engine_peer_environments.python_of(tmp_path, "vllm")
        python.parent.mkdir()
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "program.py"} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        return tmp_path

    return make_home


def test_a_peer_runs_in_one_thread_on_one_core(program: Callable[[str], Path]) -> None:
    before, core = os.sched_getaffinity(0), engine_peers.last_core()
    found = engine_peers.measure_one("vllm", program(ANSWERS), timed.Asked("", [[5]] * 8, [1, 8], 4, 1))
    assert found["batches"][8]["tok_s"] == 7.0
    assert found["versions"] == {
        "cores": [core],
        "module": "benchmarks.peers.engine.by_vllm",
        "threads": "1",
        "more": ["compiled"],
    }
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("source", ["raise SystemExit(3)", "pass"])
def test_a_peer_that_fails_or_says_nothing_is_told(source: str, program: Callable[[str], Path]) -> None:
    with pytest.raises(engine_peers.PeersFailed):
        engine_peers.measure_one("vllm_eager", program(source), timed.Asked("", [[5]], [1], 4, 1))


@pytest.mark.parametrize(
    "batches",
    [{"1": {"tok_s": 3.0}}, {"1": {"tok_s": 3.0}, "8": {"tok_s": None}}, {"1": 3.0, "8": 4.0}, []],
    ids=["a batch is missing", "all was noise", "no objects", "no batches"],
)
def test_answers_without_all_the_times_are_refused(batches: Any) -> None:
    said = json.dumps({"batches": batches, "versions": {}, "load": []})
    with pytest.raises(engine_peers.PeersFailed, match="llama_cpp"):
        engine_peers.read_answer("llama_cpp", said, [1, 8])


# -- comparison --------------------------------------------------------------------------------------------------------


def rates(tok_s: float | None, ids: list[list[int]], margins: list[list[float]] | None = None) -> dict[str, Any]:
    return {"tok_s": tok_s, "tok_s_used": 10.0, "ids": ids, "margins": margins}


def test_a_peer_is_compared_with_ours_before_and_after_it() -> None:
    order: list[str] = []

    def own(_: timed.Asked) -> dict[int, dict[str, Any]]:
        order.append("own")
        return {batch: rates(100.0 * len(order), [[1, 2]], [[0.5, 0.5]]) for batch in (1, 32)}

    def peer(name: str, _: timed.Asked) -> dict[str, Any]:
        order.append(name)
        batches = {1: rates(100.0, [[1, 2]]), 32: rates(50.0, [[1, 3]])}
        return {"batches": batches, "versions": {name: "1.0"}, "load": [0.1, 0.1, 0.1]}

    asked = timed.Asked("", [[5]] * 32, [1, 32], 4, 1)
    found = engine_compared.compare(own, peer, asked, ["transformers", "llama_cpp"])
    assert order == ["own", "transformers", "own", "llama_cpp", "own"]
    assert found["over_transformers_b1"] == 2.0  # of 100 and 300
    assert found["over_llamacpp_b1"] == 4.0  # of 300 and 500
    assert found["over_llamacpp_b32"] == 8.0
    assert found["over_transformers_b8"] is None
    assert "over_vllm_b1" not in found
    assert found["over_used"]["llama_cpp"] == {1: 1.0, 32: 1.0}
    assert found["different_answers"] == {"transformers": 1, "llama_cpp": 1}
    assert found["peer_versions"] == {"transformers": {"transformers": "1.0"}, "llama_cpp": {"llama_cpp": "1.0"}}


@pytest.mark.parametrize(
    ("theirs", "margins", "differing"),
    [([1, 2, 3], [1.0, 1.0, 1.0], 0), ([1, 9, 9], [1.0, 1.0, 1.0], 1), ([1, 9, 9], [1.0, 1e-4, 1.0], 0)],
    ids=["the same", "another", "another after a tie"],
)
def test_answers_may_part_only_where_two_tokens_are_nearly_alike(
    theirs: list[int], margins: list[float], differing: int
) -> None:
    ours = {"ids": [[1, 2, 3]], "margins": [margins]}
    assert engine_own_rates.differing(ours, {"ids": [theirs]}) == differing
