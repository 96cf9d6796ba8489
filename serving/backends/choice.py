"""Opens the backend that COUNTERSIGN_BACKEND names, and knows which settings go with which."""

from __future__ import annotations

from serving.backends.backend import Backend, BackendRefused, ServedModel
from serving.settings import ServingSettings

_NATIVE_WORDS = {  # what divides the native backend in their place
    "tensor_parallel": "the native backend is divided by COUNTERSIGN_RANKS",
    "pipeline_parallel": "the native backend's stages are COUNTERSIGN_STAGES",
    "expert_parallel": "the native backend's ranks share out experts in any case",
}


def open_backend(settings: ServingSettings, cpu_share: float) -> tuple[ServedModel, Backend]:
    """Raises CheckpointError or BackendRefused. Only the chosen backend is imported."""
    if settings.backend == "vllm":
        from serving.backends.vllm.keeper import open_vllm

        return open_vllm(settings)
    from serving.backends.native import open_native

    return open_native(settings, cpu_share)


def check_degrees(settings: ServingSettings) -> None:
    """Whether the degrees of parallelism are those of the chosen backend. Raises BackendRefused."""
    if settings.backend == "vllm":
        for name in ("spare_ranks", "spare_experts", "stages", "kv_tokens"):
            if getattr(settings, name) != type(settings).model_fields[name].default:
                raise BackendRefused(
                    f"COUNTERSIGN_{name.upper()} is for the native backend: unset it, or unset COUNTERSIGN_BACKEND."
                )
        return
    for name, instead in _NATIVE_WORDS.items():
        if getattr(settings, name) != type(settings).model_fields[name].default:
            raise BackendRefused(
                f"COUNTERSIGN_{name.upper()} is for COUNTERSIGN_BACKEND=vllm: set that too, or unset it; {instead}."
            )
    if settings.spare_experts and not settings.migrate_experts:
        raise BackendRefused(
            "COUNTERSIGN_SPARE_EXPERTS is filled when experts move, which COUNTERSIGN_MIGRATE_EXPERTS=false forbids: "
            "change one of them."
        )


def devices_of(settings: ServingSettings) -> int:
    """GPUs of a replica, whose children vLLM's workers are; 0 where it runs on CPUs. Raises BackendRefused."""
    if settings.backend != "vllm":
        return 0
    from serving.backends.vllm.installed import installed_vllm

    on_gpus = installed_vllm().device == "gpu"
    return settings.tensor_parallel * settings.pipeline_parallel if on_gpus else 0


def ranks_of(settings: ServingSettings) -> int:
    """Processes that share one replica's network."""
    if settings.backend == "vllm":
        return settings.tensor_parallel * settings.pipeline_parallel
    return settings.stages * settings.ranks


def check_devices(settings: ServingSettings, there: int) -> None:
    """`there`: the GPUs that Ray found. Raises BackendRefused where replicas would wait for more without end."""
    wanted = settings.replicas * devices_of(settings)
    if wanted > there:
        raise BackendRefused(
            f"{settings.replicas} replicas of {ranks_of(settings)} ranks need {wanted} GPUs and {there} are there: "
            "lower COUNTERSIGN_REPLICAS, COUNTERSIGN_TENSOR_PARALLEL or COUNTERSIGN_PIPELINE_PARALLEL."
        )
