"""What holds for every test: nothing is judged by the time it took, and whole products start one after the other."""

from pathlib import Path

import pytest
from hypothesis import settings

# A shared machine may stall any example; speed is measured in benchmarks/.
settings.register_profile("product", deadline=None)
settings.load_profile("product")

HERE = Path(__file__).parent
# They start Ray, browsers and whole products, and take turns; they come first because they are half of the time.
BY_TURNS = ("system", "faults", "serving", "browser", "launch")


@pytest.hookimpl(tryfirst=True)  # xdist's own hook reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says what stays on one worker when tests run on several: a file's tests, and all that take turns."""
    groups = {item: group_of(item.path.relative_to(HERE)) for item in items}
    items.sort(key=lambda item: groups[item] != "by-turns")
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))


def group_of(file: Path) -> str:
    return "by-turns" if file.parts[0] in BY_TURNS else file.as_posix()
