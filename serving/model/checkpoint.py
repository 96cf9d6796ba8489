"""Knows what a checkpoint directory holds: its files, its identity and its generation defaults; imports no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from serving.model.config import CheckpointError, ModelConfig, read_json
from serving.model.families.registry import read_model_config

DEFAULT_MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """What a request that leaves a parameter out gets; from generation_config.json."""

    max_tokens: int
    temperature: float  # 0: greedy
    top_p: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    directory: Path
    config: ModelConfig
    weight_files: tuple[Path, ...]
    name: str
    digest: str  # first 12 hex digits of sha256 over the weight files in order of their names
    defaults: GenerationDefaults

    @property
    def model_id(self) -> str:
        return f"{self.name}@{self.digest}"


def open_checkpoint(directory: Path | str) -> Checkpoint:
    """Raises CheckpointError when the directory is missing, foreign or not whole."""
    path = Path(directory).resolve()
    config = read_model_config(path)
    files = weight_files_of(path)
    if not (path / "tokenizer.json").is_file():
        raise CheckpointError(f"{path} holds no tokenizer.json: point to a whole checkpoint.")
    return Checkpoint(
        directory=path,
        config=config,
        weight_files=files,
        name=config.name or f"countersign-{path.name}",
        digest=digest_of(files),
        defaults=generation_defaults(path),
    )


def weight_files_of(directory: Path) -> tuple[Path, ...]:
    """In order of their names; of a checkpoint in several files those that its index names. Raises CheckpointError."""
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file() or not index.is_file():
        files = tuple(sorted(directory.glob("*.safetensors")))
    else:
        named = read_json(index).get("weight_map")
        names = named.values() if isinstance(named, dict) else ()
        files = tuple(directory / name for name in sorted({Path(str(name)).name for name in names}))
    if not files:
        raise CheckpointError(f"{directory} holds no *.safetensors file: point to a whole checkpoint.")
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{directory} lacks {file.name}, which its index names: copy the checkpoint again.")
    return files


def digest_of(files: tuple[Path, ...]) -> str:
    """First 12 hex digits of sha256 over the files in this order. Raises CheckpointError."""
    digest = hashlib.sha256()
    try:
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        told = error.strerror or error
        raise CheckpointError(f"{file} cannot be read ({told}): let this user read the checkpoint.") from error
    return digest.hexdigest()[:12]


def generation_defaults(directory: Path) -> GenerationDefaults:
    """From generation_config.json, where there is one. Raises CheckpointError."""
    path = directory / "generation_config.json"
    data = read_json(path) if path.is_file() else {}
    sampled = data.get("do_sample", False)
    try:
        return GenerationDefaults(
            max_tokens=int(data.get("max_new_tokens") or DEFAULT_MAX_TOKENS),
            temperature=float(data.get("temperature") or 1.0) if sampled else 0.0,
            top_p=float(data.get("top_p") or 1.0) if sampled else 1.0,
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} misstates a field ({error}): export it again.") from error
