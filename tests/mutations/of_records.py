"""The catalogue's mechanisms that withhold what the product did not write, and that record who was shown what."""

from __future__ import annotations

from tests.mutations.tree import Edit, Mutation

VOUCHING = Mutation(
    name="vouching",
    invariant="I2",
    meaning="what an insider writes into the database decides whether an answer leaves",
    edits=(
        Edit(
            "storage/records.py",
            "self._let_out if self.vouched is Vouched.OURS else (None, None)",
            "self._let_out",
        ),
    ),
    tests=("tests/storage/test_vouching.py", "tests/gateway/test_insider.py"),
)

VOUCHED_QUESTION = Mutation(
    name="vouched_question",
    invariant="I2",
    meaning="a verdict is taken over a question or a decision that an insider altered",
    edits=(
        Edit(
            "storage/reviews.py",
            "    vouching.require_decision(conn, item)\n    vouching.require_words(conn, item)\n    first =",
            "    vouching.require_words(conn, item)\n    first =",
        ),
    ),
    tests=("tests/storage/test_vouching.py", "tests/gateway/test_insider.py"),
)

VOUCHED_WORDS = Mutation(
    name="vouched_words",
    invariant="I2",
    meaning="a word that an insider put there is the first of two people's, or what a verdict is given after",
    edits=(Edit("storage/reviews.py", "    vouching.require_words(conn, item)\n    first =", "    first ="),),
    tests=("tests/storage/test_vouching.py", "tests/storage/test_others_words.py"),
)

SHOWN_WORDS = Mutation(
    name="shown_words",
    invariant="I2",
    meaning="the second of two people is shown a reason or a text that an insider wrote in the first one's name",
    edits=(Edit("gateway/desk.py", "dataclasses.replace(outcome, vouched=vouched)", "outcome"),),
    tests=("tests/gateway/test_others_words.py",),
)

NAMESAKES = Mutation(
    name="namesakes",
    invariant="I2",
    meaning="one person with two keys, named in two spellings, is two people for four eyes",
    edits=(
        Edit("storage/persons.py", "folded(name) == folded(other)", "name.strip().lower() == other.strip().lower()"),
    ),
    tests=("tests/storage/test_persons.py", "tests/storage/test_four_eyes.py"),
)

OWN_QUESTION = Mutation(
    name="own_question",
    invariant="I2",
    meaning="who asked with one key lets the answer out with another",
    edits=(
        Edit(
            "storage/review_guards.py",
            "return row.asker == ERASED_NAME or is_person(reviewer, row.asked_by, row.asker)",
            "return bool(row.asked_by == reviewer.id)",
        ),
    ),
    tests=("tests/storage/test_persons.py", "tests/gateway/test_others_words.py"),
)

VOUCHED_EARLIER = Mutation(
    name="vouched_earlier",
    invariant="I2",
    meaning="records of before are vouched for whatever the log tells of them",
    edits=(
        Edit(
            "storage/earlier_records.py",
            "if _as_told(case, told.get(case.id, []), again) and _vouch(conn, vault, case):",
            "if _vouch(conn, vault, case):",
        ),
    ),
    tests=("tests/storage/test_earlier_records.py",),
)

OF_QUESTION = Mutation(
    name="of_question",
    invariant="I2",
    meaning="a request that is sent again is answered with what an insider made it stand for",
    edits=(
        Edit(
            "gateway/idempotency.py",
            "mine = asked.key_id == key.id and asked.messages == messages",
            "mine = True",
        ),
    ),
    tests=("tests/gateway/test_insider.py",),
)

RECORDED_READING = Mutation(
    name="recorded_reading",
    invariant="I5",
    meaning="a claim or verdict shows its case, and its commit does not record that",
    edits=(
        Edit(
            "gateway/desk.py",
            "Opened(desk, context.access.case_within(connection, reader, desk.outcome.interaction, desk.item))",
            "Opened(desk, False)",
        ),
    ),
    tests=("tests/gateway/test_claim_commit.py",),
)

KEPT_ITEM = Mutation(
    name="kept_item",
    invariant="I2",
    meaning="on PostgreSQL a draft outlives the erasure or the verdict that it is saved beside",
    edits=(
        Edit(
            "storage/review_guards.py",
            "row_for(conn, item_id, reviewer, keep=True)",
            "row_for(conn, item_id, reviewer)",
        ),
    ),
    tests=("tests/storage/test_beside_each_other.py",),
)

KEPT_CLAIM = Mutation(
    name="kept_claim",
    invariant="I4",
    meaning="a lease that is being extended is taken over by who read that it had run out",
    edits=(
        Edit(
            "storage/reviews.py",
            "row = row_for(conn, item_id, reviewer, keep=True)",
            "row = row_for(conn, item_id, reviewer)",
        ),
    ),
    tests=("tests/storage/test_beside_each_other.py",),
)

TWO_AGREE = Mutation(
    name="two_agree",
    invariant="I2",
    meaning="the database keeps a last word that nobody else's agrees with, where two people must agree",
    edits=(
        Edit(
            "storage/migrations/versions/r0009_two_must_agree.py",
            'f"NOT ({ENDS_FOR_TWO}) OR agrees_with IS NOT NULL"',
            '"true"',
        ),
    ),
    tests=("tests/storage/test_two_must_agree.py",),
)

ROW_SECURITY = Mutation(
    name="row_security",
    invariant="I7",
    meaning="the product starts although somebody switched the rules between tenants off",
    edits=(
        Edit("storage/obstructions.py", "            row_security.require_whole(conn, names)\n", "            pass\n"),
    ),
    tests=("tests/storage/test_obstructions.py",),
)
OF_RECORDS = (
    VOUCHING,
    VOUCHED_QUESTION,
    VOUCHED_WORDS,
    SHOWN_WORDS,
    NAMESAKES,
    OWN_QUESTION,
    VOUCHED_EARLIER,
    OF_QUESTION,
    RECORDED_READING,
    KEPT_ITEM,
    KEPT_CLAIM,
    TWO_AGREE,
    ROW_SECURITY,
)
