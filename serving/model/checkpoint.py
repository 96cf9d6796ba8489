"""Knows what a checkpoint directory holds: its files, its identity and its generation defaults; imports no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from serving.model.config import CheckpointError, ModelConfig, read_json, read_model_config
from serving.model.packing import ExpertPacking, read_packing

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
    packing: ExpertPacking | None  # None: experts are floats like the rest

    @property
    def model_id(self) -> str:
        return f"{self.name}@{self.digest}"


def open_checkpoint(directory: Path | str) -> Checkpoint:
    """Raises CheckpointError when the directory is missing, foreign or not whole."""
    path = Path(directory).resolve()
    config = read_model_config(path)
    files = tuple(sorted(path.glob("*.safetensors")))
    if not files:
        raise CheckpointError(f"{path} holds no *.safetensors file: point to a whole checkpoint.")
    if not (path / "tokenizer.json").is_file():
        raise CheckpointError(f"{path} holds no tokenizer.json: point to a whole checkpoint.")
    return Checkpoint(
        directory=path,
        config=config,
        weight_files=files,
        name=config.name or f"countersign-{path.name}",
        digest=_digest(files),
        defaults=_defaults(path),
        packing=read_packing(path),
    )


def _digest(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]


def _defaults(directory: Path) -> GenerationDefaults:
    path = directory / "generation_config.json"
    data = read_json(path) if path.is_file() else {}
    sampled = data.get("do_sample", False)
    return GenerationDefaults(
        max_tokens=int(data.get("max_new_tokens") or DEFAULT_MAX_TOKENS),
        temperature=float(data.get("temperature") or 1.0) if sampled else 0.0,
        top_p=float(data.get("top_p") or 1.0) if sampled else 1.0,
    )
