"""Takes the README's picture of the desk: `python -m tests.browser.desk_picture LINK [PATH]`, with a fresh link."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.browser import desk_flow
from tests.browser.chromium import chromium, page

PICTURE = Path(__file__).parents[2] / "docs" / "screenshots" / "desk.png"


def take(link: str, path: Path) -> None:
    """The most urgent item of a product that was just started by `./run up`."""
    with chromium() as browser, page(browser) as (desk, _):
        desk_flow.sign_in(desk, link)
        desk_flow.claim_next(desk)
        desk_flow.screenshot_desk(desk, path)


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else PICTURE)
