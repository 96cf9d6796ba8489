"""Knows every setting of the gateway: its environment variable, its default and what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage import embedded_valkey, log_keys, retention


class Settings(BaseSettings):
    """Read from the environment; `COUNTERSIGN_` begins every name but DATABASE_URL and REDIS_URL."""

    model_config = SettingsConfigDict(
        env_prefix="COUNTERSIGN_", env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    home: Path = Field(
        default=Path(".countersign"), description="Folder for the embedded database, Valkey's data and logs."
    )
    database_url: str = Field(
        default="",
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
        description="SQLAlchemy URL of the database; empty: SQLite in COUNTERSIGN_HOME.",
    )
    redis_url: str = Field(
        default="",
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        description="Valkey or Redis (redis://… or unix://…); empty: the embedded Valkey's socket in COUNTERSIGN_HOME.",
    )
    queue_prefix: str = Field(default="countersign", description="First part of every key in Valkey.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")
    serving_url: str = Field(default="http://127.0.0.1:8100", description="Where the serving application answers.")
    serving_token: SecretStr = Field(
        default=SecretStr(""), description="Secret shared with serving, sent as bearer token."
    )
    upstream_url: str = Field(
        default="", description="Base URL (ending in /v1) of any OpenAI-compatible server to ask instead of serving."
    )
    upstream_key: SecretStr = Field(default=SecretStr(""), description="API key for COUNTERSIGN_UPSTREAM_URL.")
    upstream_model: str = Field(
        default="",
        description="Model to ask for at COUNTERSIGN_UPSTREAM_URL; answers that name another are held as uncalibrated.",
    )
    ask_timeout_seconds: float = Field(default=120.0, gt=0, description="Longest wait for the model's answer.")
    max_questions: int = Field(default=64, ge=1, description="Questions under way at once in one gateway; beyond: 503.")
    max_waiting_questions: int = Field(
        default=16,
        ge=0,
        description="Questions that may wait for a place under COUNTERSIGN_MAX_QUESTIONS, for at most 5 s.",
    )
    max_questions_per_key: int = Field(
        default=0,
        ge=0,
        description="Questions of one key under way at once; beyond: 429. 0: half of COUNTERSIGN_MAX_QUESTIONS.",
    )
    idempotency_hours: float = Field(
        default=24.0, gt=0, description="How long an Idempotency-Key stands for its first request."
    )
    retry_window_seconds: float = Field(
        default=1800.0, gt=0, description="How long after it was recorded a request is known again in a client's retry."
    )
    max_body_bytes: int = Field(
        default=1_048_576, ge=1024, description="Largest request body; a larger one is answered 413."
    )
    head_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Longest time a request's head may take to arrive; then the connection ends.",
    )
    body_seconds: float = Field(default=30.0, gt=0, description="Longest time a request body may take to arrive.")
    max_wait_seconds: float = Field(default=300.0, ge=0, description="Upper bound of `Prefer: wait=N`.")
    stream_wait_seconds: float = Field(
        default=600.0, ge=0, description="How long a held stream is kept open for a verdict."
    )
    keep_alive_seconds: float = Field(
        default=10.0, gt=0, description="Pause between keep-alive comments in a held stream."
    )
    poll_seconds: float = Field(
        default=1.0, gt=0, description="How often the database is asked, once for all who wait, what others decided."
    )
    retry_after_seconds: int = Field(default=5, ge=1, description="Retry-After of a held answer and of 503.")
    claim_seconds: float = Field(default=300.0, gt=0, description="A reviewer's lease on an item, unless extended.")
    max_claims: int = Field(
        default=5, ge=1, description="How many claims of an item must run out for it to be quarantined."
    )
    max_opinions: int = Field(
        default=5, ge=2, description="How many people may refer an item or disagree over it before it is quarantined."
    )
    recorder_queue: int = Field(
        default=1024, ge=1, description="Writes that may wait for the database, and as many reads; beyond: 503."
    )
    recorder_batch: int = Field(default=128, ge=1, description="Most writes committed together.")
    reader_threads: int = Field(default=4, ge=1, le=64, description="Threads that read from the database.")
    worker: Literal["embedded", "off"] = Field(
        default="embedded", description="Run the worker inside the gateway, or elsewhere (`countersign worker`)."
    )
    worker_pause_seconds: float = Field(
        default=0.2, gt=0, description="Pause between the worker's looks at the outbox."
    )
    reconcile_seconds: float = Field(default=30.0, gt=0, description="How often Valkey is compared with the database.")
    master_key: SecretStr = Field(
        default=SecretStr(""),
        description="Master key of private facts, base64 of 32 bytes; empty: the file audit/master.key in "
        "COUNTERSIGN_HOME, made on the first start.",
    )
    audit_signing_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key that signs the audit log's checkpoints; empty: the file audit/signing.key in "
        "COUNTERSIGN_HOME, made on the first start.",
    )
    audit_checkpoints: Path | None = Field(
        default=None,
        description="File outside the database that keeps every checkpoint; empty: audit/checkpoints.jsonl in "
        "COUNTERSIGN_HOME.",
    )
    full_text: bool = Field(
        default=False,
        description="Keep which words stand in questions and answers, so that auditors find events by them.",
    )
    access_log_seconds: float = Field(
        default=60.0, ge=0, description="Within which the same key's reading of the same thing is one audit event."
    )
    retention_days: float | None = Field(
        default=None,
        ge=retention.FLOOR_DAYS,
        description="Age beyond which `countersign audit purge` removes events and contents, at least 183 days; "
        "empty: nothing is removed unless the command names an age.",
    )
    otlp_endpoint: str = Field(default="", description="OTLP/HTTP base address for traces; empty: none are exported.")
    span_file: Path | None = Field(default=None, description="File to which finished spans are appended as JSON lines.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level that is logged."
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def upper(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @property
    def database(self) -> str:
        """The database's URL, the embedded one when none is set."""
        return self.database_url or f"sqlite:///{(self.home / 'countersign.db').absolute()}"

    @property
    def checkpoints(self) -> Path:
        """The file of checkpoints outside the database."""
        return self.audit_checkpoints or self.audit_home / log_keys.CHECKPOINTS

    @property
    def audit_home(self) -> Path:
        """The folder of the audit log's keys."""
        return self.home / "audit"

    @property
    def redis(self) -> str:
        """The queue's URL, the embedded server's socket when none is set."""
        return self.redis_url or embedded_valkey.url(self.home / "valkey")
