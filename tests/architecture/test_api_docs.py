"""docs/api.md names every address of the gateway, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.app import create_app
from gateway.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
ADDRESS = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`]*)`")


def test_the_page_names_every_address_and_no_other(tmp_path: Path) -> None:
    paths = create_app(Settings(home=tmp_path)).openapi()["paths"]
    served = {(method.upper(), plain(path)) for path, methods in paths.items() for method in methods}
    told = {(method, plain(path)) for method, path in ADDRESS.findall(PAGE.read_text())}
    assert told == served


def plain(path: str) -> str:
    """An address without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path)
