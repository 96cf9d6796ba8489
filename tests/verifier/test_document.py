"""docs/verifying.md explains sentences that the program says, word by word, and names its commands."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from verifier.command import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "verifying.md").read_text()


def said() -> str:
    """Every text in the verifier's source, in which what is filled in stands as an ellipsis."""
    texts = []
    for file in sorted((ROOT / "verifier").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def explained() -> list[str]:
    table = PAGE.split("## What it says")[1].split("\n\n")[1]
    sentences = [row.split(" | ")[0].strip("| ") for row in table.splitlines()[2:]]
    return [part.strip(" ,") for sentence in sentences for part in re.split("…|;|: ", sentence) if part.strip(" ,")]


@pytest.mark.parametrize("part", explained())
def test_what_is_explained_is_said(part: str) -> None:
    assert part in said()


def test_many_sentences_are_explained() -> None:
    assert len(explained()) > 20


@pytest.mark.parametrize("command", sorted(set(re.findall(r"countersign-verify (\w+)", PAGE))))
def test_every_command_on_the_page_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert command in capsys.readouterr().out
