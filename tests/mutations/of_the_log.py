"""The catalogue's mechanisms that keep the audit log what the product wrote."""

from __future__ import annotations

from tests.mutations.tree import Edit, Mutation

VOUCHED_EVENTS = Mutation(
    name="vouched_events",
    invariant="I5",
    meaning="what an insider writes into the audit log is sealed as the product's",
    edits=(
        Edit(
            "storage/intrusions.py",
            "return isinstance(event_id, str) and isinstance(hash_, str) and"
            " vault.vouched(waiting(event_id, hash_), mac)",
            "return isinstance(event_id, str) and isinstance(hash_, str)",
        ),
    ),
    tests=("tests/storage/test_intrusions.py",),
)

SIGNED_AGE = Mutation(
    name="signed_age",
    invariant="I5",
    meaning="a purge goes by the times that events say, which nobody signed",
    edits=(Edit("storage/retention.py", "min(start + _AT_ONCE, end) - 1", "start + _AT_ONCE - 1"),),
    tests=("tests/storage/test_retention.py",),
)

OBSTRUCTIONS = Mutation(
    name="obstructions",
    invariant="I5",
    meaning="the product starts although a trigger may keep events from being written",
    edits=(Edit("storage/schema.py", "    obstructions.require_none(conn)\n", ""),),
    tests=("tests/storage/test_obstructions.py",),
)

WAITING_EVENTS = Mutation(
    name="waiting_events",
    invariant="I5",
    meaning="who sets the database's version back has the next migration vouch for what they put in the line",
    edits=(
        Edit(
            "storage/migrations/versions/r0006_vouched_log.py",
            'if waiting and not context.config.attributes["vouch_for_waiting"]:',
            "if waiting < 0:",
        ),
    ),
    tests=("tests/storage/test_migration_with_data.py",),
)

COPIED_TIERS = Mutation(
    name="copied_tiers",
    invariant="I5",
    meaning="verifiers call an honest log altered once it was brought up",
    edits=(Edit("storage/migrations/versions/r0007_tiers_in_the_log.py", "    copy_tiers()\n", ""),),
    tests=("tests/storage/test_migration_with_data.py",),
)

ENDED_ITEMS = Mutation(
    name="ended_items",
    invariant="I2",
    meaning="an answer whose rejection or expiry somebody took out of the database can be approved",
    edits=(
        Edit(
            "storage/reviews.py",
            "    if kind in RELEASING:\n        log_ends.require_open(conn, item)\n",
            "",
        ),
    ),
    tests=("tests/storage/test_log_ends.py", "tests/gateway/test_insider.py"),
)

SIGNED_LEAVES = Mutation(
    name="signed_leaves",
    invariant="I2",
    meaning="an operator vouches for what an insider has written into the log and its tree",
    edits=(Edit("storage/earlier_records.py", "        signed_tree.require_signed(conn, signer)\n", ""),),
    tests=("tests/storage/test_forged_log.py",),
)

VOUCHED_SIGN_INS = Mutation(
    name="vouched_sign_ins",
    invariant="I4",
    meaning="a row that an insider wrote signs them in as any reviewer",
    edits=(
        Edit(
            "storage/keys.py",
            'if row is None or not sign_in_macs.is_ours(vault_of(conn), "sign-in", _sign_in_of(row)):',
            "if row is None:",
        ),
    ),
    tests=("tests/storage/test_sign_in_macs.py",),
)

OF_THE_LOG = (
    VOUCHED_EVENTS,
    SIGNED_AGE,
    OBSTRUCTIONS,
    WAITING_EVENTS,
    COPIED_TIERS,
    ENDED_ITEMS,
    SIGNED_LEAVES,
    VOUCHED_SIGN_INS,
)
