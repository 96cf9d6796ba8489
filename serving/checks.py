"""Knows what must hold before Ray is started: usable settings, a whole checkpoint, a free port."""

from __future__ import annotations

import socket

from pydantic import ValidationError

from serving.backends.backend import BackendRefused
from serving.backends.choice import check_degrees
from serving.backends.vllm.checkpoint import AnyCheckpoint
from serving.backends.vllm.checks import verify_for_vllm
from serving.engine.prompt import open_prompt_writer
from serving.engine.vocabulary import load_vocabulary
from serving.model.checkpoint import Checkpoint, open_checkpoint
from serving.model.config import CheckpointError
from serving.model.tensor_files import check_tensors
from serving.settings import ServingSettings
from serving.stages.stage import stages_of


class CannotStart(Exception):
    """One sentence that says what to do."""


def read_settings() -> ServingSettings:
    """Raises CannotStart naming the variable."""
    try:
        settings = ServingSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"COUNTERSIGN_{str(first['loc'][0]).upper()}" if first["loc"] else "The settings"
        raise CannotStart(f"{name} cannot be used: {first['msg'].removeprefix('Value error, ')}.") from error
    try:
        check_degrees(settings)
    except BackendRefused as error:
        raise CannotStart(str(error)) from error
    return settings.model_copy(
        update={"home": settings.home.absolute(), "checkpoint": settings.checkpoint.absolute()},
    )


def verify(settings: ServingSettings) -> Checkpoint | AnyCheckpoint:
    """Everything that can be checked before Ray runs. Raises CannotStart."""
    if settings.backend == "vllm":
        try:
            return verify_for_vllm(settings)
        except (BackendRefused, CheckpointError) as error:
            raise CannotStart(str(error)) from error
    return _verify_for_native(settings)


def _verify_for_native(settings: ServingSettings) -> Checkpoint:
    try:
        checkpoint = open_checkpoint(settings.checkpoint)
        check_tensors(checkpoint.weight_files, checkpoint.config)
        vocabulary = load_vocabulary(checkpoint.directory)
        open_prompt_writer(vocabulary, checkpoint.directory)
    except CheckpointError as error:
        raise CannotStart(str(error)) from error
    known = checkpoint.config.vocab_size
    if vocabulary.size > known:
        raise CannotStart(f"tokenizer.json has {vocabulary.size} ids, config.json {known}: export the model again.")
    experts = checkpoint.config.experts
    if settings.ranks > experts:
        raise CannotStart(f"{settings.ranks} ranks cannot share {experts} experts: lower COUNTERSIGN_RANKS.")
    try:
        stages_of(checkpoint.config, settings.stages)
    except ValueError as error:
        raise CannotStart(str(error)) from error
    return checkpoint


def check_port(settings: ServingSettings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise CannotStart(
                f"{where} cannot be listened on ({error.strerror}): stop what uses it or set COUNTERSIGN_PORT."
            ) from error
