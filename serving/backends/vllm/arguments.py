"""Turns settings into vLLM's engine arguments, and a request into its sampling parameters; imports no vLLM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.backends.vllm.checkpoint import AnyCheckpoint
from serving.engine.plan import Sampling
from serving.settings import ServingSettings

GIB = 1 << 30
MOST_WAITING = 64  # generations held beyond those that run


@dataclass(frozen=True, slots=True)
class VllmSizes:
    tensor: int = 1
    pipeline: int = 1
    expert: bool = False
    kv_bytes: int = GIB  # of each rank; on CPUs alone
    most_running: int = 16
    most_waiting: int = MOST_WAITING
    compiled: bool = False  # on CPUs; on GPUs vLLM always compiles
    start_seconds: float = 600.0

    @property
    def ranks(self) -> int:
        return self.tensor * self.pipeline


def sizes_from(settings: ServingSettings) -> VllmSizes:
    return VllmSizes(
        tensor=settings.tensor_parallel,
        pipeline=settings.pipeline_parallel,
        expert=settings.expert_parallel,
        kv_bytes=int(settings.kv_gib * GIB),
        most_running=settings.most_running,
        compiled=settings.compiled,
        start_seconds=settings.vllm_start_seconds,
    )


def engine_arguments(checkpoint: AnyCheckpoint, sizes: VllmSizes, device: str) -> dict[str, Any]:
    """Fields of vLLM's AsyncEngineArgs."""
    # vLLM's kernel for linear attention on CPUs knows no other numbers than these.
    dtype = "bfloat16" if checkpoint.linear_attention else "float32"
    on_cpu = {"dtype": dtype, "kv_cache_memory_bytes": sizes.kv_bytes, "enforce_eager": not sizes.compiled}
    return {
        "model": str(checkpoint.directory),
        "served_model_name": checkpoint.model_id,
        "skip_tokenizer_init": True,  # prompts come as ids and answers leave as ids: our vocabulary has the words
        "load_format": "safetensors",  # never a pickle
        "trust_remote_code": False,
        "generation_config": "vllm",  # a checkpoint's defaults are read here, not there
        "max_model_len": -1,  # the model's context, or what the cache holds where that is less
        "max_num_seqs": sizes.most_running,
        "tensor_parallel_size": sizes.tensor,
        "pipeline_parallel_size": sizes.pipeline,
        "enable_expert_parallel": sizes.expert,
        "distributed_executor_backend": "mp",  # the replica's own children, on its node
        "worker_extension_cls": "serving.backends.vllm.worker.ReplicaWorker",
        "enable_prefix_caching": True,
        "logprobs_mode": "raw_logprobs",  # of the model's own distribution, before temperature and top-p
        "max_logprobs": -1,
        "disable_log_stats": True,  # ours counts
        **(on_cpu if device == "cpu" else {}),
    }


def sampling_parameters(
    sampling: Sampling, max_tokens: int, top_logprobs: int, ending: frozenset[int]
) -> dict[str, Any]:
    """Fields of vLLM's SamplingParams. One alternative more than wanted: the first is the entropy."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "max_tokens": max_tokens,
        "stop_token_ids": sorted(ending),
        "ignore_eos": True,  # `ending` has them all
        "logprobs": top_logprobs + 1,
        "prompt_logprobs": 0,  # each token's own
        "flat_logprobs": True,
        "detokenize": False,
    }
