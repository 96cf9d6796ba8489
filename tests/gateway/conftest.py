"""One Valkey and one fake serving for all; a gateway for each module unless a test makes its own."""

import io
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from gateway import command
from storage import embedded_valkey, keys, log_keys
from storage.database import Database, migrate, open_database
from storage.records import Role
from tests.gateway.fake_serving import FakeServing
from tests.gateway.running import Gateway, running, settings_for

# Exceptions as Python prints them: with every local variable, which is the default, each takes seconds.
plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:  # short: a socket's path has few bytes
        server = embedded_valkey.start(Path(directory))
        yield server.url
        server.stop()


@pytest.fixture(scope="module")
def serving() -> Iterator[FakeServing]:
    fake = FakeServing().start()
    yield fake
    fake.stop()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with tables and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "countersign.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, serving: FakeServing, valkey_url: str, migrated: Path
) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("gateway")
    (home / "countersign.db").write_bytes(migrated.read_bytes())
    with running(settings_for(home, serving.url, valkey_url)) as found:
        yield found


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    """A home of its own with an empty database, for a test that starts a gateway of its own."""
    home = tmp_path_factory.mktemp("home")
    (home / "countersign.db").write_bytes(migrated.read_bytes())
    return home


@pytest.fixture
def log(home: Path) -> Iterator[Database]:
    """A log in which the tenants acme and other each made a key."""
    opened = open_database(f"sqlite:///{home}/countersign.db", log_keys.vault(home / "audit"))
    with opened.transaction() as conn:
        for tenant in ("acme", "other"):
            keys.create(conn, tenant, "Ada", [Role.REVIEWER])
    yield opened
    opened.close()


@pytest.fixture
def restored_logs() -> Iterator[None]:
    """For a test that configures logs as a process of its own would."""
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**configured)


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs `countersign audit …` in this process."""
    monkeypatch.setenv("COUNTERSIGN_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))  # what a person answers who is asked

    def audit(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["countersign", "audit", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        written = capsys.readouterr()
        return Done(int(ended.value.code or 0), written.out, written.err)

    return audit
