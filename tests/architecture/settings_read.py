"""Knows which environment variables a settings class reads, and what it does without them."""

from pathlib import Path

from pydantic import AliasChoices, SecretStr
from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parents[2]


def variables(settings: type[BaseSettings]) -> dict[str, str]:
    """Variable → its default, as docs/settings.md writes it ("" for none)."""
    prefix = settings.model_config.get("env_prefix", "")
    read = {}
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            alias = next(str(choice) for choice in alias.choices if str(choice).isupper())
        read[str(alias or f"{prefix}{name}").upper()] = default_text(field.default)
    return read


def default_text(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, Path):
        return str(default.relative_to(ROOT) if default.is_absolute() else default)
    if isinstance(default, float) and default.is_integer():
        return str(int(default))
    return str(default)
