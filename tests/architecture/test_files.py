"""Files are small, say what they know, and have names that mean something."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "serving", "storage", "review_ui", "launch", "training", "benchmarks", "verifier")
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
MOST_LINES = 300
MODULES = sorted(path for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*.py"))


def those_that(offend) -> list[str]:
    assert len(MODULES) > 50  # there is something to look at
    return [str(path.relative_to(ROOT)) for path in MODULES if offend(path)]


def test_no_module_hides_behind_a_name_that_says_nothing():
    assert those_that(lambda path: FORBIDDEN_NAMES & {*path.relative_to(ROOT).with_suffix("").parts}) == []


def test_init_files_stay_empty():
    assert those_that(lambda path: path.name == "__init__.py" and path.read_text()) == []


def test_no_file_outgrows_one_idea():
    def outgrown(path: Path) -> bool:
        # a migration is a record of what once happened, as its tool wrote it
        return "migrations" not in path.parts and len(path.read_text().splitlines()) > MOST_LINES

    assert those_that(outgrown) == []


def test_each_module_begins_with_a_sentence_that_says_what_it_knows():
    def silent(path: Path) -> bool:
        described = ast.get_docstring(ast.parse(path.read_text())) or ""
        return path.name != "__init__.py" and not described.split("\n\n")[0].rstrip().endswith((".", ":", "?"))

    assert those_that(silent) == []


def test_the_dashboard_shadows_no_standard_module():
    def shadows(path: Path) -> bool:
        # Streamlit puts the folder of its script first on sys.path
        return path.parent == ROOT / "review_ui" and path.stem in sys.stdlib_module_names

    assert those_that(shadows) == []
