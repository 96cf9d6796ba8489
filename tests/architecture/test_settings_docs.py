"""docs/settings.md lists exactly the settings that each process reads, with their defaults."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from gateway.settings import Settings as GatewaySettings
from launch.settings import LaunchSettings
from review_ui.settings import Settings as DashboardSettings
from serving.settings import ServingSettings
from tests.architecture.settings_read import ROOT, variables

DOCUMENT = (ROOT / "docs" / "settings.md").read_text()
PROCESSES: dict[str, type[BaseSettings]] = {
    "./run up": LaunchSettings,
    "gateway": GatewaySettings,
    "serving": ServingSettings,
    "dashboard": DashboardSettings,
}


def documented(process: str) -> dict[str, str]:
    """Variable → default, from the table under the process's heading."""
    section = DOCUMENT.split(f"\n## {process}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\| (.+) \|$", section, re.M)
    return {name: default for name, default, _ in rows}


@pytest.mark.parametrize("process", PROCESSES)
def test_every_setting_is_documented_with_its_default(process):
    assert documented(process) == variables(PROCESSES[process])


@pytest.mark.parametrize("process", PROCESSES)
def test_every_setting_says_what_it_is_for(process):
    silent = [name for name, field in PROCESSES[process].model_fields.items() if not field.description]
    assert silent == []


def test_no_variable_is_read_behind_the_settings_classes_back():
    known = {name for settings in PROCESSES.values() for name in variables(settings)}
    known |= set(re.findall(r"^\| `([A-Z_]+)`", DOCUMENT, re.M))
    reads = re.compile(r"""environ(?:\.get\(|\[)["']((?:COUNTERSIGN_|DATABASE|REDIS)[A-Z_]+)""")
    for package in ("gateway", "serving", "storage", "review_ui", "launch"):
        for path in Path(ROOT / package).rglob("*.py"):
            assert set(reads.findall(path.read_text())) <= known, path
