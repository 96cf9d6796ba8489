"""docs/settings.md lists exactly the settings that each process reads, with their defaults and what they are for."""

import re

import pytest

from tests.architecture.settings_read import DOCUMENT, PROCESSES, ROOT, variables, with_tables

READS = re.compile(r"""environ(?:\.get\(|\[)["']((?:COUNTERSIGN_|DATABASE|REDIS)[A-Z_]+)""")


def test_the_tables_are_those_of_the_settings_classes():
    document = DOCUMENT.read_text()
    assert document == with_tables(document), "run: python -m tests.architecture.settings_read"


@pytest.mark.parametrize("process", PROCESSES)
def test_every_setting_says_what_it_is_for(process):
    assert [name for name, field in PROCESSES[process].model_fields.items() if not field.description] == []


@pytest.mark.parametrize("process", PROCESSES)
def test_a_variable_set_to_nothing_counts_as_unset(process, monkeypatch):
    settings = PROCESSES[process]
    for name in variables(settings):
        monkeypatch.delenv(name, raising=False)
    unset = settings().model_dump()
    for name in variables(settings):
        monkeypatch.setenv(name, "")
    assert settings().model_dump() == unset


def test_no_variable_is_read_that_is_not_documented():
    known = {name for settings in PROCESSES.values() for name in variables(settings)}
    known |= set(re.findall(r"^\| `([A-Z_]+)`", DOCUMENT.read_text(), re.M))
    for package in ("gateway", "serving", "storage", "review_ui", "launch"):
        for path in (ROOT / package).rglob("*.py"):
            assert set(READS.findall(path.read_text())) <= known, path
