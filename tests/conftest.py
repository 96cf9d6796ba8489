"""What holds for every test: nothing is judged by the time it took, and whole products start one after the other."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# A shared machine may stall any example; speed is measured in benchmarks/.
settings.register_profile("product", deadline=None)
settings.load_profile("product")

HERE = Path(__file__).parent
# They start Ray, browsers and whole products, and take turns; they come first because they are half of the time.
BY_TURNS = ("system", "faults", "browser", "launch")
SERVING_APPLICATIONS = ("test_app.py", "test_repair.py", "test_replica.py")  # in tests/serving


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: group_of(item.path.relative_to(HERE)) != "by-turns")


class ByTurns(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """What stays on one worker when tests run on several: a file's tests, and all that take turns.

    In place of `--dist loadgroup`, whose marks pytest 9.2 no longer sees (xdist 3.8 writes them into the wrong name).
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(Path(nodeid.split("::")[0]).relative_to(HERE.name))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByTurns:
    return ByTurns(config, log)


def group_of(file: Path) -> str:
    starts_serving = file.parts[0] == "serving" and len(file.parts) == 2 and file.name in SERVING_APPLICATIONS
    return "by-turns" if starts_serving or file.parts[0] in BY_TURNS else file.as_posix()
