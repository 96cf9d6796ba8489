"""Lists the safety mechanisms that are taken out one at a time, each with the tests that must then fail."""

from __future__ import annotations

from tests.mutations.of_records import OF_RECORDS
from tests.mutations.of_releases import OF_RELEASES
from tests.mutations.of_the_log import OF_THE_LOG
from tests.mutations.of_the_verifier import OF_THE_VERIFIER
from tests.mutations.on_postgresql import ON_POSTGRESQL
from tests.mutations.tree import Edit, Mutation

FENCING = Mutation(
    name="fencing",
    invariant="I4",
    meaning="a verdict is taken whatever lease it came under",
    edits=(
        Edit(
            "storage/review_guards.py",
            "mine = item.state is ItemState.CLAIMED and item.claimed_by == reviewer.id"
            " and item.fencing_token == fencing_token\n"
            "    if not mine or item.claim_expires_at is None or item.claim_expires_at <= at:\n",
            "if item.state is not ItemState.CLAIMED:\n",
        ),
    ),
    tests=("tests/storage/test_verdicts.py", "tests/storage/test_claims.py"),
)

LEASE = Mutation(
    name="lease",
    invariant="I4",
    meaning="a claim never runs out for whoever holds it",
    edits=(
        Edit(
            "storage/review_guards.py",
            "if not mine or item.claim_expires_at is None or item.claim_expires_at <= at:",
            "if not mine:",
        ),
    ),
    tests=("tests/storage/test_verdicts.py", "tests/storage/test_claims.py"),
)

COMPARE_AND_SET = Mutation(
    name="compare_and_set",
    invariant="I3",
    meaning="a transition is made whatever became of the item since it was read",
    edits=(
        Edit(
            "storage/review_moves.py",
            '        table.state == sa.bindparam("seen_state"),\n'
            '        table.version == sa.bindparam("seen_version"),\n'
            '        table.fencing_token == sa.bindparam("seen_token"),\n',
            "        sa.or_(\n"
            "            sa.true(),\n"
            '            table.state == sa.bindparam("seen_state"),\n'
            '            table.version == sa.bindparam("seen_version"),\n'
            '            table.fencing_token == sa.bindparam("seen_token"),\n'
            "        ),\n",
        ),
    ),
    tests=("tests/storage/test_review_moves.py", "tests/storage/test_claims.py", "tests/storage/test_verdicts.py"),
)

TRANSITION_EVENT = Mutation(
    name="transition_event",
    invariant="I5",
    meaning="a transition leaves no audit event",
    edits=(
        Edit(
            "storage/review_moves.py", "    _note(conn, item, moved, row, kind, actor, data or {}, private, at)\n", ""
        ),
    ),
    tests=(
        "tests/storage/test_review_machine.py",
        "tests/storage/test_review_ends.py",
        "tests/storage/test_review_machine.py",
    ),
)

OUTBOX = Mutation(
    name="outbox",
    invariant="I6",
    meaning="nobody tells the queue of an item that waits",
    edits=(
        Edit(
            "storage/recording.py",
            "    insert_rows(conn, notes, [_note(each.item, at) for each in fresh if each.item is not None])\n",
            "",
        ),
    ),
    tests=("tests/storage/test_record_many.py", "tests/storage/test_dispatch.py", "tests/storage/test_interactions.py"),
)

RECONCILER = Mutation(
    name="reconciler",
    invariant="I6",
    meaning="what Valkey lost stays lost there",
    edits=(
        Edit(
            "storage/dispatch.py",
            "added += queue.rebuild(rows[item_id] for item_id in queue.missing(tenant, list(rows)))",
            "added += len(queue.missing(tenant, list(rows)))",
        ),
    ),
    tests=("tests/storage/test_dispatch.py",),
)

TENANT_FILTER = Mutation(
    name="tenant_filter",
    invariant="I7",
    meaning="an interaction is found by its id, whoever's it is",
    edits=(
        Edit(
            "storage/interactions.py",
            "interactions.c.tenant == tenant, interactions.c.deleted_at.is_(None))",
            "interactions.c.deleted_at.is_(None))",
        ),
    ),
    tests=("tests/storage/test_interactions.py",),
)

RECORD_BEFORE_RELEASE = Mutation(
    name="record_before_release",
    invariant="I1",
    meaning="an answer leaves before its record is committed",
    edits=(
        Edit(
            "gateway/recorder.py",
            "job.write, job.tenant)) for job in others]\n",
            "job.write, job.tenant)) for job in others]\n"
            "                for future, result, refusal in settled:\n"
            "                    settle(future, result, refusal)\n"
            "                settled = []\n",
        ),
    ),
    tests=("tests/gateway/test_recorder.py",),
)

CONTENT_HASH = Mutation(
    name="content_hash",
    invariant="I2",
    meaning="a text leaves although it is not the one that was decided on",
    edits=(
        Edit(
            "storage/records.py",
            "return str(text) if text is not None and _hash(text) == decided_hash else None",
            "return str(text) if text is not None else None",
        ),
    ),
    tests=("tests/storage/test_interactions.py", "tests/gateway/test_completions.py"),
)

FAIL_CLOSED = Mutation(
    name="fail_closed",
    invariant="I8",
    meaning="an answer of unknown confidence is treated as the policy treats a low one",
    edits=(
        Edit(
            "gateway/policy.py",
            "return Ruling(Action.HOLD, reason, None, policy.threshold)",
            "return Ruling(below(policy), reason, None, policy.threshold)",
        ),
    ),
    tests=("tests/gateway/test_policy.py",),
)

DEDUPLICATION = Mutation(
    name="deduplication",
    invariant="I1",
    meaning="a client's retry becomes a second interaction",
    edits=(Edit("storage/retries.py", "        if fits:\n", "        if False:\n"),),
    tests=("tests/storage/test_retries.py", "tests/storage/test_record_many.py"),
)

IDEMPOTENCY_OWNER = Mutation(
    name="idempotency_owner",
    invariant="I1",
    meaning="an attempt that was taken over records all the same",
    edits=(Edit("storage/idempotency.py", "idempotency.c.owner == hold.owner, unfinished)", "unfinished)"),),
    tests=("tests/storage/test_idempotency.py",),
)

FOUR_EYES = Mutation(
    name="four_eyes",
    invariant="I2",
    meaning="one person's word releases what two must agree on",
    edits=(
        Edit(
            "storage/reviews.py",
            "first = agreeing(conn, item, reviewer.id, text_hash) if item.four_eyes else None",
            "item = dataclasses.replace(item, four_eyes=False)\n    first = None",
        ),
        Edit("storage/reviews.py", "import sqlalchemy as sa\n", "import dataclasses\n\nimport sqlalchemy as sa\n"),
    ),
    tests=("tests/storage/test_four_eyes.py",),
)

EXPIRY = Mutation(
    name="expiry",
    invariant="I9",
    meaning="an item that nobody decides waits for ever",
    edits=(
        Edit(
            "storage/review_sweeps.py",
            "review_items.c.state.in_(open_states), review_items.c.expires_at <= at, limit=limit)",
            "review_items.c.state.in_(open_states), sa.false(), limit=limit)",
        ),
    ),
    tests=("tests/storage/test_review_ends.py",),
)

SALT = Mutation(
    name="salt",
    invariant="I5",
    meaning="what was erased can be guessed from what stays of it",
    edits=(
        Edit(
            "storage/event_format.py",
            "return hashlib.sha256(salt + sealed).hexdigest()",
            "return hashlib.sha256(sealed).hexdigest()",
        ),
    ),
    tests=("tests/storage/test_event_format.py",),
)

MUTATIONS: tuple[Mutation, ...] = (
    FENCING,
    LEASE,
    COMPARE_AND_SET,
    TRANSITION_EVENT,
    OUTBOX,
    RECONCILER,
    TENANT_FILTER,
    RECORD_BEFORE_RELEASE,
    CONTENT_HASH,
    FAIL_CLOSED,
    DEDUPLICATION,
    IDEMPOTENCY_OWNER,
    FOUR_EYES,
    EXPIRY,
    SALT,
    *ON_POSTGRESQL,
    *OF_RECORDS,
    *OF_RELEASES,
    *OF_THE_LOG,
    *OF_THE_VERIFIER,
)
BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
