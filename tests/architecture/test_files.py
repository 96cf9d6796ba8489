"""Files are small, say what they know, and have names that mean something."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "serving", "storage", "review_ui", "launch", "training", "benchmarks")
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
MOST_LINES = 300
MODULES = sorted(path for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_modules_to_look_at():
    assert len(MODULES) > 50


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_no_module_hides_behind_a_name_that_says_nothing(path):
    parts = {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    assert not parts & FORBIDDEN_NAMES


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=shown)
def test_init_files_stay_empty(path):
    assert path.read_text() == ""


# a migration is a record of what once happened, as its tool wrote it
@pytest.mark.parametrize("path", [p for p in MODULES if "migrations" not in p.parts], ids=shown)
def test_no_file_outgrows_one_idea(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__init__.py"], ids=shown)
def test_each_module_begins_with_a_sentence_that_says_what_it_knows(path):
    described = ast.get_docstring(ast.parse(path.read_text()))
    assert described, "begin the module with one sentence in a docstring"
    assert described.split("\n\n")[0].rstrip().endswith((".", ":", "?"))


@pytest.mark.parametrize("path", [p for p in MODULES if p.is_relative_to(ROOT / "review_ui")], ids=shown)
def test_the_dashboard_shadows_no_standard_module(path):
    import sys

    # Streamlit puts the folder of its script first on sys.path
    if path.parent == ROOT / "review_ui" and path.name != "__init__.py":
        assert path.stem not in sys.stdlib_module_names
