"""What the dashboard reads from its environment (`COUNTERSIGN_*`)."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LEVELS = ("debug", "info", "warning", "error")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Settings(BaseSettings):
    """Every field is the environment variable `COUNTERSIGN_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="COUNTERSIGN_", env_ignore_empty=True, extra="ignore")

    gateway_url: str = Field(default="http://127.0.0.1:8000", description="Where the gateway listens.")
    host: str = Field(default="127.0.0.1", description="The address that the dashboard listens on.")
    port: int = Field(default=8501, ge=1, le=65535, description="The port that the dashboard listens on.")
    allowed_hosts: str = Field(
        default="",
        description="Comma list of names that browsers may use for the dashboard, beside loopback and the host.",
    )
    gateway_timeout_seconds: float = Field(default=10.0, gt=0, description="How long the gateway may take to answer.")
    dwell_seconds: float = Field(
        default=1.0, ge=0, description="How long an item must have been on screen before a verdict on it counts."
    )
    undo_seconds: float = Field(
        default=3.0, ge=0, description="How long a verdict can be undone before it is sent; 0 sends it at once."
    )
    log_level: str = Field(default="info", description="The least severe log line that is written.")

    @field_validator("log_level", mode="before")
    @classmethod
    def _known_level(cls, value: object) -> str:
        level = str(value).lower()
        if level not in LEVELS:
            raise ValueError(f"must be one of {', '.join(LEVELS)}")
        return level

    def hosts(self) -> list[str]:
        """Host names the server answers to; anything else is refused (DNS rebinding)."""
        named = [name.strip() for name in self.allowed_hosts.split(",") if name.strip()]
        return list(dict.fromkeys([*LOOPBACK_NAMES, self.host, *named]))
