"""Makes a copy of the source tree from which one safety mechanism has been taken out."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".countersign", "__pycache__", ".*_cache", ".hypothesis", "node_modules", "*.log"
)


class DoesNotApply(Exception):
    """The text that a mutation replaces is not in the source exactly once: the list must follow the code."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`old` becomes `new`; `old` occurs exactly once in the file."""

    file: str  # from the root of the repository
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mechanism taken out, and the tests that must notice."""

    name: str
    invariant: str  # which of I1 … I9 rests on it
    meaning: str  # what the product does without it
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]  # pytest's words for them; they all pass on the unchanged tree


def mutated(mutation: Mutation, read: Path = ROOT) -> dict[str, str]:
    """The changed files' texts by name. Raises DoesNotApply."""
    texts: dict[str, str] = {}
    for edit in mutation.edits:
        text = texts.get(edit.file) or (read / edit.file).read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            raise DoesNotApply(f"{mutation.name}: {edit.file} holds {text.count(edit.old)} times {edit.old!r}.")
        texts[edit.file] = text.replace(edit.old, edit.new)
    return texts


@contextlib.contextmanager
def mutated_tree(mutation: Mutation | None) -> Iterator[Path]:
    """A copy of the repository's files, changed as the mutation says, or as it is; removed at the end.

    Run its code with the copy as working directory and first on PYTHONPATH. Raises DoesNotApply.
    """
    texts = {} if mutation is None else mutated(mutation)
    with tempfile.TemporaryDirectory(prefix="countersign-mutated-") as made:
        copy = Path(made) / "tree"
        shutil.copytree(ROOT, copy, ignore=_LEFT_OUT)
        for file, text in texts.items():
            (copy / file).write_text(text, encoding="utf-8")
        yield copy
