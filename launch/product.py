"""Knows the whole product as one thing that starts, reports each step, and stops without leaving a process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import psutil

from launch.access import TENANT, Access, access_file, make_access, write_access
from launch.calibration import activate_shipped
from launch.children import Child, adopt_orphans, ask_to_end, end_processes, family, start_child
from launch.errors import CannotStart
from launch.parts import (
    DASHBOARD,
    GATEWAY,
    SERVING,
    Part,
    Wiring,
    dashboard_url,
    database_url,
    environment_of,
    gateway_url,
    parts,
)
from launch.preflight import check_all
from launch.readiness import answers, wait_until_ready
from launch.record import LaunchRecord
from launch.settings import LaunchSettings
from storage import embedded_valkey, log_keys, subjects
from storage.database import Database, migrate, open_database
from storage.errors import StorageError

VALKEY = "valkey"
_GRACE = 15.0  # seconds for all parts to end by themselves


@dataclass(frozen=True, slots=True)
class Step:
    """One line of progress: `seconds` is None while the step is under way."""

    name: str
    what: str
    seconds: float | None = None


Result = TypeVar("Result")
Report = Callable[[Step], None]


def open_with_keys(settings: LaunchSettings, url: str) -> Database:
    """The audit log's keys are made on the first start. Raises StorageError for others than the database's own."""
    keys = settings.home / "audit"
    signer = log_keys.signer(keys, settings.audit_signing_key.get_secret_value())
    database = open_database(url, log_keys.vault(keys, settings.master_key.get_secret_value()))
    try:
        with database.read() as conn:
            subjects.require_own_master(conn)
            log_keys.require_own_log(conn, signer)
    except BaseException:
        database.close()
        raise
    return database


class Product:
    """The product of one home. Use from the main thread; after `start` every part can be killed and started again."""

    def __init__(self, settings: LaunchSettings, report: Report = lambda step: None, tenant: str = TENANT) -> None:
        self.settings = settings
        self.tenant = tenant
        self.report = report
        self.children: dict[str, Child] = {}
        self.access: Access | None = None
        self.is_up = False  # from the claim on this home until all is stopped
        self.wiring = Wiring(
            mark=secrets.token_hex(8),
            database_url=database_url(settings),
            redis_url=settings.redis_url or embedded_valkey.url(settings.home / VALKEY),
            serving_token=secrets.token_urlsafe(32),
        )
        self._record = LaunchRecord(settings.home / "launch.json")
        self._seen: dict[int, Child] = {}  # every child ever started: its session may hold orphans

    def start(self) -> Access:
        """Returns once every part is ready. Raises CannotStart, with everything stopped again, otherwise."""
        self.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._record.claim(self.wiring.mark)
        self.is_up = True
        try:
            check_all(self.settings, self.part(SERVING))
            adopt_orphans()
            return self._start_parts()
        except BaseException as error:
            self.stop()
            if isinstance(error, StorageError):
                raise CannotStart(str(error)) from error
            raise

    def _start_parts(self) -> Access:
        """Serving takes longest, so it starts first and all else happens while Ray comes up."""
        begun = {SERVING: self._begin(SERVING)}
        if not self.settings.redis_url:
            self._timed(VALKEY, "embedded Valkey", self.start_valkey)
        database = self._timed("database", "tables", self._open_database)
        self._put_in_use(database)
        urls = gateway_url(self.settings), dashboard_url(self.settings)
        self.access = self._timed(
            "keys", "caller key, reviewer link", lambda: make_access(database, *urls, self.tenant)
        )
        database.close()
        for name in (GATEWAY, DASHBOARD):
            begun[name] = self._begin(name)
        self.wait_ready(tuple(begun), begun)
        write_access(self.settings.home, self.access)
        self._record.write(self.wiring.mark, self.processes())
        return self.access

    def _put_in_use(self, database: Database) -> None:
        begun = time.monotonic()
        self.report(Step("calibration", "shipped calibration and certificate"))
        told = activate_shipped(database, self.settings.checkpoint).told
        self.report(Step("calibration", told, time.monotonic() - begun))

    def _begin(self, name: str) -> float:
        self.report(Step(name, "starting"))
        self.spawn(name)
        return time.monotonic()

    def _open_database(self) -> Database:
        master = self.settings.master_key.get_secret_value()
        migrate(self.wiring.database_url, log_keys.vault(self.settings.home / "audit", master))
        return open_with_keys(self.settings, self.wiring.database_url)

    def _timed(self, name: str, what: str, do: Callable[[], Result]) -> Result:
        begun = time.monotonic()
        self.report(Step(name, what))
        result = do()
        self.report(Step(name, what, time.monotonic() - begun))
        return result

    def spawn(self, name: str) -> Child:
        """Start one part without waiting for it."""
        part = self.part(name)
        log = self.settings.home / "logs" / f"{name}.log"
        return self._keep(start_child(name, part.command, part.environment, log))

    def start_valkey(self) -> Child:
        """Start the embedded Valkey and wait until it answers."""
        home, data = self.settings.home, self.settings.home / VALKEY
        environment = environment_of(self.settings, self.wiring)
        command = embedded_valkey.command(data)
        child = self._keep(start_child(VALKEY, command, environment, home / "logs" / f"{VALKEY}.log"))
        wait_until_ready({child: lambda: embedded_valkey.answers(data)}, 30.0, lambda child: None)
        return child

    def wait_ready(self, names: tuple[str, ...], begun: Mapping[str, float] | None = None) -> None:
        """Returns when each named part answers at its readiness address."""
        since = begun or dict.fromkeys(names, time.monotonic())

        def check(name: str) -> Callable[[], bool]:
            return lambda: answers(self.part(name).ready_url, self.wiring.serving_token if name == SERVING else "")

        wait_until_ready(
            {self.children[name]: check(name) for name in names},
            self.settings.start_seconds,
            lambda child: self.report(Step(child.name, "ready", time.monotonic() - since[child.name])),
        )

    def kill(self, name: str) -> None:
        """SIGKILL to one part's leader, as a crash would; returns when it is gone."""
        self.children[name].process.kill()
        self.children[name].process.wait()

    def part(self, name: str) -> Part:
        return parts(self.settings, self.wiring)[name]

    def dead_child(self) -> Child | None:
        """A part that has ended by itself, if any."""
        return next((child for child in self.children.values() if not child.alive), None)

    def processes(self) -> list[psutil.Process]:
        """Every live process of the product."""
        return family(self._seen.values(), self.wiring.mark)

    def remember_processes(self) -> None:
        """Write down what lives now, for a later launch to clean up after a kill -9."""
        self._record.write(self.wiring.mark, self.processes())

    def stop(self, grace: float = _GRACE) -> None:
        """Ends every process: in order while they obey, by SIGKILL after `grace` seconds."""
        queue = self.children.get(VALKEY)
        for child in self.children.values():
            if child is not queue:
                ask_to_end(child)
        end_processes(lambda: [each for each in self.processes() if queue is None or each.pid != queue.pid], grace)
        if queue is not None:
            ask_to_end(queue)  # last, when nobody asks it any more
        left = end_processes(self.processes, grace)
        access_file(self.settings.home).unlink(missing_ok=True)
        if left:
            raise CannotStart(f"These processes could not be stopped: {sorted(process.pid for process in left)}.")
        self._record.forget()
        self.children.clear()
        self.is_up = False

    def _keep(self, child: Child) -> Child:
        self.children[child.name] = child
        self._seen[child.pid] = child
        self._record.write(self.wiring.mark, self.processes())
        return child
