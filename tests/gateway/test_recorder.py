"""What is acknowledged is committed, and what cannot be committed shows nothing."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.errors import ApiError
from gateway.recorder import Recorder
from storage.database import Database, DatabaseUnreachable, open_database
from storage.errors import InvalidValue
from storage.recording import Recording
from storage.records import Action, Interaction, Role
from storage.tables import interactions
from tests.gateway.fake_serving import SECRET_TEXT, FakeServing
from tests.gateway.running import Gateway, prepare, running, settings_for
from tests.storage.made import decision, interaction, key


class Failing:
    """A database whose commits can be made to fail, or to wait, at their very end."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.dialect, self.url = inner.dialect, inner.url
        self.fail = False
        self.commits = 0
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.reached = threading.Event()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._inner.transaction() as connection:
            yield connection
            self.reached.set()
            self.may_commit.wait(20)
            if self.fail:
                raise DatabaseUnreachable("The disk is full.")
            self.commits += 1

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._inner.read() as connection:
            yield connection

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def database(home: Path) -> Iterator[Failing]:
    failing = Failing(open_database(f"sqlite:///{home / 'countersign.db'}"))
    with failing.transaction() as connection:
        connection.execute(sa.text("CREATE TABLE notes (word TEXT UNIQUE)"))
    failing.commits = 0
    failing.reached.clear()
    yield failing
    failing.close()


def recorder(database: Any, **limits: int) -> Recorder:
    found = Recorder(database, waiting=limits.get("waiting", 64), batch=limits.get("batch", 64), readers=1)
    found.start()
    return found


def insert(word: str) -> Any:
    return lambda connection: connection.execute(sa.text("INSERT INTO notes VALUES (:word)"), {"word": word}).rowcount


def words(database: Failing) -> list[str]:
    with database.read() as connection:
        return [row.word for row in connection.execute(sa.text("SELECT word FROM notes ORDER BY word"))]


async def test_waiting_writes_share_one_commit(database: Failing) -> None:
    found = recorder(database)
    database.may_commit.clear()
    first = asyncio.create_task(found.write(insert("a")))
    await asyncio.to_thread(database.reached.wait, 20)
    rest = [asyncio.create_task(found.write(insert(word))) for word in "bcdefg"]
    await asyncio.sleep(0)  # they are in the queue once each has run to its first wait
    database.may_commit.set()
    await asyncio.gather(first, *rest)
    assert words(database) == list("abcdefg")
    assert database.commits == 2
    found.close()


async def test_refused_write_takes_no_other_with_it(database: Failing) -> None:
    def write_then_refuse(connection: Connection) -> None:
        insert("half")(connection)
        raise ApiError(409, "No.", code="no")

    found = recorder(database)
    results = await asyncio.gather(
        found.write(insert("a")),
        found.write(write_then_refuse),
        found.write(insert("a")),
        found.write(insert("b")),
        return_exceptions=True,
    )
    assert words(database) == ["a", "b"]
    assert [type(result).__name__ for result in results] == ["int", "ApiError", "IntegrityError", "int"]
    found.close()


async def test_failed_commit_is_told_to_everyone_and_later_writes_work(database: Failing) -> None:
    found = recorder(database)
    database.fail = True
    results = await asyncio.gather(*(found.write(insert(word)) for word in "ab"), return_exceptions=True)
    assert [result.status for result in results if isinstance(result, ApiError)] == [503, 503]
    assert words(database) == []
    database.fail = False
    await found.write(insert("c"))
    assert words(database) == ["c"]
    found.close()


async def test_full_queue_is_refused_at_once(database: Failing) -> None:
    found = recorder(database, waiting=2, batch=1)
    database.may_commit.clear()
    first = asyncio.create_task(found.write(insert("a")))
    await asyncio.to_thread(database.reached.wait, 20)
    waiting = [asyncio.create_task(found.write(insert(word))) for word in "bc"]
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as caught:
        await found.write(insert("d"))
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert caught.value.headers["retry-after"]
    database.may_commit.set()
    await asyncio.gather(first, *waiting)
    assert words(database) == ["a", "b", "c"]
    found.close()


async def test_reads_beyond_those_that_may_wait_are_refused_at_once(database: Failing) -> None:
    found, goes_on = recorder(database, waiting=2), threading.Event()

    def slow(_: Connection) -> bool:
        return goes_on.wait(20)

    reads = [asyncio.create_task(found.read(slow)) for _ in range(3)]  # one is under way, two wait
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as caught:
        await found.read(slow)
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert caught.value.headers["retry-after"] == "1"
    reads.pop().cancel()  # it leaves its place to another
    await asyncio.sleep(0)
    reads.append(asyncio.create_task(found.read(slow)))
    await asyncio.sleep(0)
    goes_on.set()
    assert await asyncio.gather(*reads) == [True] * 3
    assert [await found.read(slow) for _ in range(4)] == [True] * 4  # each gave its place back
    found.close()


async def test_nothing_is_read_after_the_end(database: Failing) -> None:
    found = recorder(database)
    found.close()
    with pytest.raises(ApiError) as caught:
        await found.read(lambda connection: None)
    assert (caught.value.status, caught.value.code) == (503, "stopping")


async def test_cancelled_caller_does_not_undo_its_write(database: Failing) -> None:
    found = recorder(database)
    database.may_commit.clear()
    task = asyncio.create_task(found.write(insert("kept")))
    await asyncio.to_thread(database.reached.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    database.may_commit.set()
    found.close()
    assert words(database) == ["kept"]


@contextmanager
def gateway_on(database: Failing, home: Path, serving: FakeServing, valkey_url: str) -> Iterator[Gateway]:
    secrets = prepare(database)  # type: ignore[arg-type]
    settings = settings_for(home, serving.url, valkey_url, worker="off")
    with running(settings, secrets, database=database) as gateway:
        yield gateway


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("who", ["caller", "flagging"])
def test_unrecorded_answer_never_leaves(
    database: Failing, home: Path, serving: FakeServing, valkey_url: str, stream: bool, who: str
) -> None:
    with gateway_on(database, home, serving, valkey_url) as gateway:
        database.fail = True
        response = gateway.ask("sure [0.97]", who, stream=stream)
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "storage_unavailable"
        assert response.headers["retry-after"]
        assert SECRET_TEXT not in response.text
        database.fail = False
        assert SECRET_TEXT in gateway.ask("sure [0.97]", who).text
        assert len(gateway.events(kinds="decision")) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_no_byte_of_an_answer_leaves_before_the_commit(
    database: Failing, home: Path, serving: FakeServing, valkey_url: str, stream: bool
) -> None:
    with gateway_on(database, home, serving, valkey_url) as gateway:
        database.may_commit.clear()
        database.reached.clear()
        arrived: list[bytes] = []
        body = {
            "model": "countersign-reference",
            "messages": [{"role": "user", "content": "sure [0.97]"}],
            "stream": stream,
        }

        def read() -> None:
            with gateway.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as response:
                arrived.append(str(response.status_code).encode())
                arrived.extend(response.iter_bytes())

        reader = threading.Thread(target=read)
        reader.start()
        assert database.reached.wait(20)  # the answer is there and written, and not committed
        assert arrived == []
        assert database.commits == 1  # that of `prepare`
        database.may_commit.set()
        reader.join(20)
        assert SECRET_TEXT.encode() in b"".join(arrived)


async def test_a_question_that_cannot_be_recorded_is_refused_alone(database: Failing) -> None:
    caller, found = key(cast(Database, database), "chat", Role.CALLER), recorder(database)
    good = [interaction(caller), interaction(caller)]
    bad = interaction(caller, content_hash="0" * 64)
    database.may_commit.clear()
    before = database.commits
    database.reached.clear()
    blocking = asyncio.ensure_future(found.write(lambda connection: None))  # the others gather behind it
    await asyncio.to_thread(database.reached.wait, 20)

    def recording(asked: Interaction) -> Recording:
        return Recording(asked, decision(asked, Action.RELEASE))

    group = [found.record(lambda at, asked=asked: recording(asked)) for asked in (good[0], bad, good[1])]
    results = asyncio.gather(*group, return_exceptions=True)
    await asyncio.sleep(0)
    database.may_commit.set()
    first, refused, last = await results
    await blocking
    assert isinstance(refused, InvalidValue)
    assert [first.stands, last.stands] == [each.id for each in good]
    with database.read() as connection:
        recorded = connection.execute(sa.select(interactions.c.id)).scalars().all()
    assert sorted(recorded) == sorted(each.id for each in good)
    assert database.commits == before + 5  # the first, the group without them, and each by itself
    found.close()
