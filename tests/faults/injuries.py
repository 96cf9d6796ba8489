"""All that can be done to the running world, by the names that the schedule uses."""

from __future__ import annotations

from tests.faults import database_injuries, network_injuries, process_injuries, valkey_injuries
from tests.faults.striking import Act

ACTS: dict[str, Act] = {
    **network_injuries.ACTS,
    **database_injuries.ACTS,
    **valkey_injuries.ACTS,
    **process_injuries.ACTS,
}
