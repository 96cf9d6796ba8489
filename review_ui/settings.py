"""What the dashboard reads from its environment (`COUNTERSIGN_*`)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Settings(BaseSettings):
    """Every field is the environment variable `COUNTERSIGN_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="COUNTERSIGN_", extra="ignore")

    gateway_url: str = "http://127.0.0.1:8000"
    host: str = "127.0.0.1"
    port: int = Field(default=8501, ge=1, le=65535)
    allowed_hosts: str = ""  # comma-separated names a browser may use, beside loopback and `host`
    gateway_timeout_seconds: float = Field(default=10.0, gt=0)
    dwell_seconds: float = Field(
        default=1.0, ge=0
    )  # an item must have been on screen this long before a verdict counts
    undo_seconds: float = Field(default=3.0, ge=0)  # a verdict is sent this long after it was given; 0: at once

    def hosts(self) -> list[str]:
        """Host names the server answers to; anything else is refused (DNS rebinding)."""
        named = [name.strip() for name in self.allowed_hosts.split(",") if name.strip()]
        return list(dict.fromkeys([*LOOPBACK_NAMES, self.host, *named]))
