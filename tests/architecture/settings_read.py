"""Knows which environment variables each process reads, and writes the tables of docs/settings.md from that."""

from pathlib import Path

from pydantic import AliasChoices, SecretStr
from pydantic_settings import BaseSettings

from gateway.settings import Settings as GatewaySettings
from launch.settings import LaunchSettings
from review_ui.settings import Settings as DashboardSettings
from serving.settings import ServingSettings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "settings.md"
PROCESSES: dict[str, type[BaseSettings]] = {
    "./run up": LaunchSettings,
    "gateway": GatewaySettings,
    "serving": ServingSettings,
    "dashboard": DashboardSettings,
}


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


def table(settings: type[BaseSettings]) -> str:
    """The Markdown table of one settings class."""
    rows = ["| variable | default | what it is for |", "|---|---|---|"]
    fields = settings.model_fields.values()
    for (name, default), field in zip(variables(settings).items(), fields, strict=True):
        shown = f"`{default}` " if default else ""
        rows.append(f"| `{name}` | {shown}| {(field.description or '').replace('|', 'or')} |")
    return "\n".join(rows)


def with_tables(document: str) -> str:
    """The document with each process's table as the code has it; the words around them stay."""
    for process, settings in PROCESSES.items():
        before, section = document.split(f"\n## {process}\n", 1)
        about, rest = section.split("\n| variable |", 1)
        _, mark, after = rest.partition("\n\n")
        document = f"{before}\n## {process}\n{about}\n{table(settings)}{mark}{after}"
    return document


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
