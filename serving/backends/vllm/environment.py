"""Knows the environment under which vLLM keeps to this machine, to loopback, and to its share of the processors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

OWNER_VARIABLE = "COUNTERSIGN_VLLM_OWNER"  # the process whose end vLLM's workers must not outlive


def vllm_environment(
    device: str, ranks: int, replicas: int, cores: Sequence[int], start_seconds: float, home: Path
) -> dict[str, str]:
    """Variables to set before vLLM is imported; its processes inherit them. `cores` are for all replicas together."""
    return {
        OWNER_VARIABLE: str(os.getpid()),
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_LOOPBACK_IP": "127.0.0.1",
        # what a checkpoint needs is in its directory: nothing is fetched, nothing is told
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CACHE_ROOT": str(home / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(home / "vllm" / "inductor"),
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(int(start_seconds) or 1),
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a replica has threads: it must not be forked
        "VLLM_USE_V2_MODEL_RUNNER": "0",  # the other one never holds a row's whole distribution, which entropies need
        **(_processors(ranks, replicas, cores) if device == "cpu" else {}),
    }


def _processors(ranks: int, replicas: int, cores: Sequence[int]) -> dict[str, str]:
    """Each rank gets cores of its own where they are enough; else a thread each, wherever the system puts them."""
    ranks_here = ranks * replicas
    each = (len(cores) - 1) // ranks_here or len(cores) // ranks_here  # one for the replica, where one is left
    if replicas > 1 or not each:  # which replica this is, nobody says
        return {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(max(1, each))}
    own = (cores[rank * each : (rank + 1) * each] for rank in range(ranks))
    return {"VLLM_CPU_OMP_THREADS_BIND": "|".join(",".join(map(str, part)) for part in own)}
