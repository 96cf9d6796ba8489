"""Lists the safety mechanisms that are taken out one at a time, each with the tests that must then fail."""

from __future__ import annotations

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

MUTATIONS: tuple[Mutation, ...] = (FENCING,)
BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
