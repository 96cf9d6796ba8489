"""Knows what `./run up` may be told: home, ports, checkpoint, gang sizes and where the database and Redis are."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class LaunchSettings(BaseSettings):
    """Read from the environment; every field is described in docs/settings.md."""

    model_config = SettingsConfigDict(
        env_prefix="COUNTERSIGN_", env_ignore_empty=True, populate_by_name=True, extra="ignore"
    )

    home: Path = Field(default=ROOT / ".countersign", description="Folder of all state: database, queue, keys, logs.")
    port: int = Field(default=8000, ge=1, le=65535, description="The gateway's port.")
    serving_port: int = Field(default=8100, ge=1, le=65535, description="The serving application's port.")
    dashboard_port: int = Field(default=8501, ge=1, le=65535, description="The reviewer dashboard's port.")
    checkpoint: Path = Field(
        default=ROOT / "serving" / "checkpoints" / "reference", description="Directory of the model to serve."
    )
    replicas: int = Field(default=2, ge=1, le=16, description="Gangs of ranks side by side.")
    ranks: int = Field(default=2, ge=1, le=16, description="Expert-parallel ranks in each stage of a gang.")
    start_seconds: float = Field(
        default=180.0, gt=0, le=86_400, description="How long the product may take to become ready."
    )
    database_url: str = Field(
        default="",
        alias="DATABASE_URL",
        description="SQLAlchemy URL of the database; empty: SQLite in COUNTERSIGN_HOME.",
    )
    master_key: SecretStr = Field(
        default=SecretStr(""),
        description="Master key of private facts; empty: the file audit/master.key in COUNTERSIGN_HOME.",
    )
    audit_signing_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key that signs the audit log's checkpoints; empty: the file audit/signing.key in "
        "COUNTERSIGN_HOME.",
    )
    redis_url: str = Field(
        default="", alias="REDIS_URL", description="Valkey or Redis to use; empty: an embedded Valkey is started."
    )
