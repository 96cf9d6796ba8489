"""Reads what a checkpoint of any family says of itself; what its network computes is vLLM's to know."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from serving.model.checkpoint import GenerationDefaults, digest_of, generation_defaults, weight_files_of
from serving.model.config import CheckpointError, read_json
from serving.model.families.fields import Fields

_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


@dataclass(frozen=True, slots=True)
class AnyCheckpoint:
    directory: Path
    model_type: str
    vocab_size: int
    context_length: int  # tokens
    heads: int  # of attention: what tensor-parallel ranks must divide
    eos_ids: frozenset[int]
    name: str
    digest: str  # first 12 hex digits of sha256 over the weight files in order of their names
    parameters: int  # numbers in the weight files
    linear_attention: bool  # in some layers: a gated delta rule in attention's place
    defaults: GenerationDefaults

    @property
    def model_id(self) -> str:
        """Another than the native backend's, which measures one signal more: their calibrations are not the same."""
        return f"{self.name}-vllm@{self.digest}"


def open_any_checkpoint(directory: Path | str) -> AnyCheckpoint:
    """Raises CheckpointError when the directory is missing or not whole."""
    path = Path(directory).resolve()
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint directory {path}: set COUNTERSIGN_CHECKPOINT to one.")
    data, files = read_json(path / "config.json"), weight_files_of(path)
    if not (path / "tokenizer.json").is_file():
        raise CheckpointError(f"{path} holds no tokenizer.json: point to a whole checkpoint.")
    text = data.get("text_config")  # where models that also see or hear keep what concerns words
    fields = Fields({**data, **text} if isinstance(text, dict) else data, path)
    try:
        return AnyCheckpoint(
            directory=path,
            model_type=str(data.get("model_type") or ""),
            vocab_size=fields.count("vocab_size"),
            context_length=fields.count(*_CONTEXT),
            heads=fields.count("num_attention_heads", "n_head"),
            eos_ids=_eos_ids(fields, path),
            name=str(data.get("name") or f"countersign-{path.name}"),
            digest=digest_of(files),
            parameters=sum(_numbers_in(file) for file in files),
            linear_attention=fields.get("linear_num_key_heads") is not None,
            defaults=generation_defaults(path),
        )
    except ValueError as error:
        raise CheckpointError(f"{path}/config.json misstates a field ({error}): export it again.") from error


def _eos_ids(fields: Fields, directory: Path) -> frozenset[int]:
    """Chat models often name the token that ends a turn in generation_config.json alone."""
    path = directory / "generation_config.json"
    generation = Fields(read_json(path) if path.is_file() else {}, directory)
    return frozenset(fields.counts("eos_token_id") + generation.counts("eos_token_id"))


def _numbers_in(file: Path) -> int:
    """How many a safetensors file holds, which is read no further than its header says; it must be whole."""
    try:
        with safe_open(file, "np") as opened:
            return sum(prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{file} is a broken safetensors file: copy the checkpoint again.") from error
