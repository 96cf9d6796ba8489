"""Knows every setting of the serving application, each read from a COUNTERSIGN_* environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

REFERENCE_CHECKPOINT = Path(__file__).parent / "checkpoints" / "reference"


class ServingSettings(BaseSettings):
    """What `python -m serving.start` reads; the defaults serve the reference model on this machine alone."""

    model_config = SettingsConfigDict(env_prefix="COUNTERSIGN_", env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Field(default=Path(".countersign"), description="Where state, tokens and logs are kept.")
    host: str = Field(default="127.0.0.1", description="Address HAProxy listens on; keep it on loopback.")
    port: int = Field(default=8100, ge=1, le=65535, description="Port HAProxy listens on.")
    serving_token: SecretStr | None = Field(default=None, description="Bearer secret the gateway must present.")
    checkpoint: Path = Field(default=REFERENCE_CHECKPOINT, description="Directory of the model to serve.")
    backend: Literal["native", "vllm"] = Field(
        default="native", description="What generates: our own engine, or vLLM for families that it does not know."
    )
    replicas: int = Field(default=1, ge=1, le=16, description="Gangs of ranks side by side.")
    ranks: int = Field(default=2, ge=1, le=16, description="Expert-parallel ranks in each stage of a gang.")
    stages: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Pipeline stages in a gang: each holds a part of the layers, for models that do not fit otherwise.",
    )
    spare_ranks: int = Field(
        default=0,
        ge=0,
        le=1,
        description="Rank processes of each replica kept ready to take a lost rank's place: a repair is then quicker.",
    )
    exchange: Literal["auto", "shm", "gloo"] = Field(
        default="auto",
        description="How ranks exchange expert rows: shm needs x86-64; auto takes it there and gloo elsewhere.",
    )
    migrate_experts: bool = Field(
        default=True, description="Move experts between ranks when some ranks have lastingly more rows than others."
    )
    spare_experts: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Experts of a layer that a rank may hold beyond its even part: copies of those with most rows.",
    )
    compiled: bool = Field(
        default=False,
        description="Compile decode steps in the background, some minutes once for a model, and use them from then on: "
        "needs g++. vLLM on CPUs: before it is ready.",
    )
    tensor_parallel: int = Field(default=1, ge=1, le=64, description="vLLM: ranks that share each layer's matrices.")
    pipeline_parallel: int = Field(
        default=1, ge=1, le=64, description="vLLM: groups of ranks that hold layers one after another; GPUs only."
    )
    expert_parallel: bool = Field(
        default=False, description="vLLM: the tensor-parallel ranks hold whole experts each; GPUs only."
    )
    kv_gib: float = Field(
        default=1.0,
        gt=0,
        le=4096,
        description="vLLM on CPUs: memory of each rank for keys and values; GPUs give what the weights leave.",
    )
    vllm_start_seconds: float = Field(
        default=600.0, gt=0, le=86_400, description="Longest start of vLLM, its loading included."
    )
    kv_tokens: int = Field(
        default=16_384,
        ge=1,
        le=16_777_216,
        description="Tokens whose keys and values each rank keeps, in whole blocks of 16; memory is touched as it "
        "fills. Fewer than the model's context shorten it.",
    )
    max_asks: int = Field(default=64, ge=1, description="Asks a replica holds, generating or waiting; more: 429.")
    token_seconds: float = Field(
        default=0.05,
        gt=0,
        le=86_400,
        description="As long as a generated token may take: a rank runs fewer at once to keep it.",
    )
    most_running: int = Field(default=16, ge=1, le=128, description="Answers of one rank that are generated at once.")
    max_body_bytes: int = Field(default=1_048_576, ge=1024, description="Largest accepted request body, in bytes.")
    sample_seconds: float = Field(
        default=20.0,
        ge=0,
        le=86_400,
        description="Longest time for the samples that one answer is compared with; 0: draw none.",
    )
    stall_seconds: float = Field(
        default=45.0, gt=0, le=86_400, description="Busy without a finished step: the replica is ill."
    )
    repair_seconds: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Longest start and longest loading of ranks in an attempt, and longest wait of an ask for them.",
    )
    otlp_endpoint: str | None = Field(default=None, description="OTLP/HTTP base address; unset: spans are not sent.")
    span_file: Path | None = Field(default=None, description="Append finished spans here as JSON lines (tests).")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log line."
    )

    @field_validator("exchange", mode="before")
    @classmethod
    def _between_processors(cls, value: object) -> object:
        if value == "nccl":
            raise ValueError("nccl exchanges between GPUs, and this engine's ranks compute on CPUs: take shm or gloo")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value
