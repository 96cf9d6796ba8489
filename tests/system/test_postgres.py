"""The same turn on a real PostgreSQL: held, killed, reviewed, released."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from launch.access import Access, make_access
from launch.calibration import activate_shipped
from launch.children import Child, ask_to_end, end_processes, family, start_child
from launch.parts import GATEWAY, dashboard_url, gateway_url, parts
from launch.ports import free_ports
from launch.readiness import answers, wait_until_ready
from storage.database import migrate, open_database
from tests.storage.servers import new_database, postgres_server
from tests.system.people import EASY, Reviewer, ask, caller_of, held, review


@dataclass
class SecondGateway:
    """A gateway of its own on PostgreSQL, in front of the serving application that already runs."""

    access: Access
    part: object
    log: Path
    child: Child | None = None

    def start(self) -> None:
        self.child = start_child("gateway-on-postgres", self.part.command, self.part.environment, self.log)
        wait_until_ready({self.child: lambda: answers(self.part.ready_url)}, 60, lambda child: None)

    def kill(self) -> None:
        self.child.process.kill()
        self.child.process.wait()


@pytest.fixture(scope="module")
def gateway(product, home) -> Iterator[SecondGateway]:
    with postgres_server() as server:
        url = new_database(server)
        migrate(url)
        (port,) = free_ports(1)
        settings = product.settings.model_copy(update={"home": home / "second", "port": port})
        settings.home.mkdir()
        database = open_database(url)
        activate_shipped(database, settings.checkpoint)
        access = make_access(database, gateway_url(settings), dashboard_url(settings))
        database.close()
        part = parts(settings, replace(product.wiring, database_url=url))[GATEWAY]
        part = replace(part, environment={**part.environment, "COUNTERSIGN_QUEUE_PREFIX": "second"})
        running = SecondGateway(access, part, home / "logs" / "second.log")
        running.start()
        yield running
        ask_to_end(running.child)
        assert end_processes(lambda: family([running.child], "no-mark"), 15) == []


def test_a_sure_answer_leaves_and_a_held_one_survives_kill_9_and_is_released_once(gateway):
    with caller_of(gateway.access) as caller, Reviewer(gateway.access.url, gateway.access.reviewer_key) as reviewer:
        assert ask(caller, EASY).choices[0].message.content.endswith("Answer: 12")
        completion = held(caller)
        gateway.kill()
        gateway.start()
        item = reviewer.claim_next()
        assert item["id"] == review(completion)["id"]
        assert reviewer.decide(item, "edit", "it did not know", "From PostgreSQL.").status_code == 200
        assert reviewer.decide(item, "approve").status_code == 409
        assert caller.chat.completions.retrieve(completion.id).choices[0].message.content == "From PostgreSQL."
        assert reviewer.events(kinds="verdict.refused", item_id=item["id"])


def test_one_tenants_answers_are_not_found_by_another_database(gateway, caller):
    import openai

    completion = held(caller)
    with caller_of(gateway.access) as other, pytest.raises(openai.AuthenticationError):
        other.with_options(api_key=caller.api_key).chat.completions.retrieve(completion.id)
