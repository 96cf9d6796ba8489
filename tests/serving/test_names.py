"""A public class's name means one thing in the whole serving package."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

SERVING = Path(__file__).resolve().parents[2] / "serving"


def test_no_two_classes_share_a_name() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SERVING.rglob("*.py")]
    names = Counter(node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for name, times in names.items() if times > 1 and not name.startswith("_")] == []
