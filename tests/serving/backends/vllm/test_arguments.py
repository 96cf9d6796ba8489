"""What vLLM is told: degrees, where its processes run and listen, and what each request wants of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from serving.backends.vllm.arguments import engine_arguments, sampling_parameters, sizes_from
from serving.backends.vllm.checkpoint import open_any_checkpoint
from serving.backends.vllm.environment import vllm_environment
from serving.backends.vllm.flight import MalformedOutput, VllmToken
from serving.backends.vllm.probe import check_probe
from serving.engine.plan import Sampling
from serving.settings import ServingSettings
from tests.serving.backends.foreign_checkpoint import write_llama


def test_degrees_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = ServingSettings(backend="vllm", tensor_parallel=4, pipeline_parallel=2, expert_parallel=True)
    checkpoint = open_any_checkpoint(write_llama(tmp_path / "llama"))
    arguments = engine_arguments(checkpoint, sizes_from(settings), "gpu")
    degrees = ("tensor_parallel_size", "pipeline_parallel_size", "enable_expert_parallel")
    assert [arguments[name] for name in degrees] == [4, 2, True]
    assert "dtype" not in arguments  # on GPUs as the checkpoint says


def test_on_cpus_numbers_are_floats_and_the_cache_has_a_size(tmp_path: Path) -> None:
    checkpoint = open_any_checkpoint(write_llama(tmp_path / "llama"))
    arguments = engine_arguments(checkpoint, sizes_from(ServingSettings(kv_gib=0.5)), "cpu")
    assert (arguments["dtype"], arguments["kv_cache_memory_bytes"]) == ("float32", 1 << 29)


def test_linear_attention_runs_in_the_only_numbers_that_its_kernel_knows(tmp_path: Path) -> None:
    checkpoint = open_any_checkpoint(write_llama(tmp_path / "next", linear_num_key_heads=2))
    assert engine_arguments(checkpoint, sizes_from(ServingSettings()), "cpu")["dtype"] == "bfloat16"


def test_one_alternative_more_is_wanted_and_every_ending_token_ends() -> None:
    found = sampling_parameters(Sampling(0.5, 0.9, 7), 12, 5, frozenset({9, 2}))
    assert (found["logprobs"], found["prompt_logprobs"], found["stop_token_ids"]) == (6, 0, [2, 9])
    assert (found["temperature"], found["top_p"], found["seed"], found["max_tokens"]) == (0.5, 0.9, 7, 12)


@pytest.mark.parametrize(
    ("ranks", "replicas", "cores", "bound"),
    [
        (1, 1, [0, 1], "0"),  # the other one is the replica's
        (2, 1, [0, 1], "0|1"),
        (2, 1, [0, 1, 2, 5, 6], "0,1|2,5"),
        (2, 1, [3], "nobind"),
        (1, 2, [0, 1, 2, 3], "nobind"),
    ],
)
def test_ranks_on_cpus_do_not_share_cores_while_there_are_enough(
    ranks: int, replicas: int, cores: list[int], bound: str, tmp_path: Path
) -> None:
    found = vllm_environment("cpu", ranks, replicas, cores, 600.0, tmp_path)
    assert found["VLLM_CPU_OMP_THREADS_BIND"] == bound
    assert found["VLLM_HOST_IP"] == "127.0.0.1"
    assert found["HF_HUB_OFFLINE"] == "1"


def probed(entropy: float) -> VllmToken:
    """A distribution of 1/2, 1/4 and 1/4, the last of which is left out."""
    return VllmToken(7, (7, 0, 7, 8), (math.log(0.5), entropy, math.log(0.5), math.log(0.25)))


def test_a_version_that_measures_entropies_of_the_whole_distribution_is_served() -> None:
    right = 1.5 * math.log(2)
    check_probe([probed(right)] * 2, (-1.0, -2.0))
    for wrong in (probed(right + 0.1), probed(math.nan), VllmToken(8, (8, 0, 7, 8), probed(right).logprobs)):
        with pytest.raises(MalformedOutput):
            check_probe([probed(right), wrong], (-1.0, -2.0))


@pytest.mark.parametrize("prompt", [(-1.0,), (), (math.nan, -1.0)])
def test_a_version_that_does_not_measure_prompts_is_not_served(prompt: tuple[float, ...]) -> None:
    with pytest.raises(MalformedOutput):
        check_probe([probed(1.5 * math.log(2))] * 2, prompt)
