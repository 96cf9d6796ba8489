"""Knows what must hold before vLLM is started: that it is there, degrees that it can take, a checkpoint to serve."""

from __future__ import annotations

from serving.backends.backend import BackendRefused
from serving.backends.vllm.checkpoint import AnyCheckpoint, open_any_checkpoint
from serving.backends.vllm.installed import check_degrees_on, installed_vllm
from serving.engine.prompt import open_prompt_writer
from serving.engine.vocabulary import load_vocabulary
from serving.model.config import CheckpointError
from serving.settings import ServingSettings


def verify_for_vllm(settings: ServingSettings) -> AnyCheckpoint:
    """Raises CheckpointError or BackendRefused."""
    check_degrees_on(installed_vllm().device, settings)
    checkpoint = open_any_checkpoint(settings.checkpoint)
    ranks = settings.tensor_parallel
    if checkpoint.heads % ranks:
        raise BackendRefused(
            f"{ranks} ranks cannot share {checkpoint.heads} attention heads evenly: change COUNTERSIGN_TENSOR_PARALLEL."
        )
    try:
        vocabulary = load_vocabulary(checkpoint.directory)
        open_prompt_writer(vocabulary, checkpoint.directory)
    except CheckpointError as error:
        raise CheckpointError(f"vLLM may know this model, but prompts for it cannot be written: {error}") from error
    if vocabulary.size > checkpoint.vocab_size:
        raise CheckpointError(
            f"tokenizer.json has {vocabulary.size} ids, config.json {checkpoint.vocab_size}: export the model again."
        )
    return checkpoint
