"""Keys and policies from the command line: `countersign keys …` and `countersign policies …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.operations import ACTOR, Refused, opened
from gateway.settings import Settings
from storage import keys as stored_keys
from storage import policies as stored_policies
from storage.records import Action, Key, Policy, Role, Tier

keys = typer.Typer(no_args_is_help=True, help="API keys.")
policies = typer.Typer(no_args_is_help=True, help="How keys' answers are gated.")

Tenant = Annotated[str, typer.Option(help="The tenant the key or policy belongs to.")]
Skills = Annotated[list[str] | None, typer.Option("--skill", help="A domain a reviewer may decide; may be repeated.")]
Threshold = Annotated[float | None, typer.Option(help="Release at or above; a policy of its own.")]
Below = Annotated[str | None, typer.Option(help="Under the threshold: hold, flag or release.")]
ReviewSeconds = Annotated[float | None, typer.Option(help="A held answer expires after this.")]
TierName = Annotated[str | None, typer.Option("--tier", help="How much a mistake costs: base, pro or ultra.")]
FourEyes = Annotated[
    bool | None, typer.Option("--four-eyes/--two-eyes", help="Two people must agree on a text to release it.")
]
WithoutCertificate = Annotated[
    str | None, typer.Option(help="What no certificate bounds: hold, or release by the threshold alone.")
]
AuditShare = Annotated[float | None, typer.Option(help="Probability, 0 to 1, that a released answer is reviewed too.")]


@keys.command("create")
def create_key(
    name: str,
    role: Annotated[list[Role], typer.Option(help="caller, reviewer, auditor or admin; may be repeated.")],
    tenant: Tenant = "default",
    skill: Skills = None,
    threshold: Threshold = None,
    below: Below = None,
    review_seconds: ReviewSeconds = None,
    tier: TierName = None,
    four_eyes: FourEyes = None,
    without_certificate: WithoutCertificate = None,
    audit_share: AuditShare = None,
) -> None:
    """Make a key and print its secret, which is shown this once."""
    fields = policy_fields(threshold, below, review_seconds, tier, four_eyes, without_certificate, audit_share)
    with opened(Settings()) as found, found.transaction() as connection:
        policy_id = None
        if fields:
            policy_id = stored_policies.create_policy(connection, tenant, name=name, actor=ACTOR, **fields).id
        secret = stored_keys.create(connection, tenant, name, role, policy_id, actor=ACTOR, skills=skill or None)[1]
    typer.echo(secret)


@keys.command("list")
def list_keys(tenant: Tenant = "default") -> None:
    """One line a key: id, name, roles, skills, policy, state."""
    with opened(Settings()) as found, found.read() as connection:
        for key in stored_keys.list_keys(connection, tenant):
            typer.echo(line_of(key))


@keys.command("skills")
def set_skills(
    key_id: str,
    skill: Skills = None,
    every: Annotated[bool, typer.Option("--every", help="Every domain, as without skills.")] = False,
    tenant: Tenant = "default",
) -> None:
    """Say what a reviewer may decide, for claims from now on."""
    if every == bool(skill):
        raise Refused("Name the domains with --skill, or give --every.")
    with opened(Settings()) as found, found.transaction() as connection:
        stored_keys.set_skills(connection, key_id, tenant, None if every else skill, ACTOR)


@keys.command("revoke")
def revoke_key(key_id: str, tenant: Tenant = "default") -> None:
    """End a key and every sign-in on it at once."""
    with opened(Settings()) as found, found.transaction() as connection:
        stored_keys.revoke(connection, key_id, tenant, ACTOR)


@policies.command("update")
def update_policy(
    policy_id: str,
    tenant: Tenant = "default",
    threshold: Threshold = None,
    below: Below = None,
    review_seconds: ReviewSeconds = None,
    tier: TierName = None,
    four_eyes: FourEyes = None,
    without_certificate: WithoutCertificate = None,
    audit_share: AuditShare = None,
) -> None:
    """Make a policy's next version, for questions asked from now on."""
    fields = policy_fields(threshold, below, review_seconds, tier, four_eyes, without_certificate, audit_share)
    if not fields:
        raise Refused("Name at least one thing to change, for example --threshold 0.9.")
    with opened(Settings()) as found, found.transaction() as connection:
        typer.echo(rules_of(stored_policies.update_policy(connection, policy_id, tenant, actor=ACTOR, **fields)))


def policy_fields(
    threshold: float | None,
    below: str | None,
    review_seconds: float | None,
    tier: str | None,
    four_eyes: bool | None,
    without_certificate: str | None,
    audit_share: float | None,
) -> dict[str, Any]:
    """What was named, as storage takes it. Raises Refused."""
    named = {
        "threshold": threshold,
        "below": None if below is None else one_of("--below", below, Action, but=(Action.ESCALATE,)),
        "review_seconds": review_seconds,
        "tier": None if tier is None else one_of("--tier", tier, Tier),
        "four_eyes": four_eyes,
        "without_certificate": None
        if without_certificate is None
        else one_of("--without-certificate", without_certificate, Action, but=(Action.FLAG, Action.ESCALATE)),
        "audit_share": audit_share,
    }
    return {name: value for name, value in named.items() if value is not None}


def one_of(option: str, given: str, kind: type[Action] | type[Tier], but: tuple[Action, ...] = ()) -> Action | Tier:
    known = [each for each in kind if each not in but]
    for each in known:
        if each.value == given:
            return each
    raise Refused(f"{option}: '{given}' is not one of {', '.join(each.value for each in known)}.")


def line_of(key: Key) -> str:
    roles = ",".join(sorted(role.value for role in key.roles))
    skills = "every domain" if key.skills is None else ",".join(sorted(key.skills))
    state = "revoked" if key.revoked_at is not None else "active"
    return "\t".join((key.id, key.name, roles, skills, rules_of(key.policy), key.policy.id, state))


def rules_of(policy: Policy) -> str:
    more = " four-eyes" if policy.four_eyes else ""
    more += " without-certificate" if policy.without_certificate is Action.RELEASE else ""
    rules = f"{policy.threshold:g} {policy.below.value} {policy.tier.value} audits {policy.audit_share:g}"
    return f"{policy.name} v{policy.version} {rules}{more}"
