"""Who takes part in a run: callers under every policy, reviewers, and a stranger of another tenant."""

from __future__ import annotations

from launch.calibration import activate_shipped
from serving.confidence.calibration import calibration_to_json
from serving.settings import REFERENCE_CHECKPOINT
from storage import calibrations, keys, policies
from storage.database import Database
from storage.records import Action, Role
from tests.gateway.certified import certify, put_in_use
from tests.serving.confidence.made import calibration

TENANT, OTHER = "acme", "other"
REVIEWERS = tuple(f"reviewer-{number}" for number in range(10))
STRANGER = "stranger"
REVIEW_SECONDS = 90.0  # a held answer's time: some expire, most do not
POLICIES: dict[str, dict[str, object]] = {
    "holding": {"below": Action.HOLD, "review_seconds": REVIEW_SECONDS},
    "flagging": {"below": Action.FLAG, "review_seconds": REVIEW_SECONDS},
    "releasing": {"below": Action.RELEASE, "review_seconds": REVIEW_SECONDS, "audit_share": 0.3},
    "hurried": {"below": Action.HOLD, "review_seconds": 4.0},
    "two-eyed": {"below": Action.HOLD, "review_seconds": REVIEW_SECONDS, "four_eyes": True},
}
NO_ALARM = 0.97  # alpha: reviewers here say what chance says, and that is not to end all releases
CALLERS = tuple(POLICIES)


def prepare(database: Database) -> tuple[dict[str, str], dict[str, str]]:
    """Makes keys and activates both models' calibrations. Secrets and key ids, each by name."""
    secrets: dict[str, str] = {}
    ids: dict[str, str] = {}
    with database.transaction() as connection:
        put_in_use(connection, calibration_to_json(calibration()), alpha=NO_ALARM)

        def add(name: str, tenant: str, roles: set[Role], policy: str | None = None) -> None:
            key, secrets[name] = keys.create(connection, tenant, name, roles, policy)
            ids[name] = key.id

        for name, policy in POLICIES.items():
            made = policies.create_policy(connection, TENANT, name=name, **policy)  # type: ignore[arg-type]
            add(name, TENANT, {Role.CALLER}, made.id)
        for name in REVIEWERS:
            add(name, TENANT, {Role.REVIEWER})
        add(STRANGER, OTHER, {Role.CALLER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN})
    shipped = activate_shipped(database, REFERENCE_CHECKPOINT)
    if shipped.calibration_id is not None and shipped.certificate_id is None:
        with database.transaction() as connection:
            active = calibrations.get(connection, shipped.calibration_id)
            assert active is not None
            certify(connection, active.id, active.model, alpha=NO_ALARM)
    return secrets, ids
