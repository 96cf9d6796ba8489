"""The catalogue's mechanisms by which the verifier reads what it was asked to, and in one way only."""

from __future__ import annotations

from tests.mutations.tree import Edit, Mutation

VERIFIED_SCHEMA = Mutation(
    name="verified_schema",
    invariant="I5",
    meaning="a setting of the database leads the verifier to a clean copy of an altered log",
    edits=(
        Edit("verifier/postgres_log.py", 'schema, f"{quoted(schema)}."', 'schema, ""'),
        Edit("verifier/postgres_catalog.py", '    "SET LOCAL search_path = pg_catalog, pg_temp",', "   "),
    ),
    tests=("tests/verifier/test_schemas.py",),
)

OWN_OPERATORS = Mutation(
    name="own_operators",
    invariant="I5",
    meaning="the verifier compares with operators that an insider made, and does not see what they put on the tables",
    edits=(Edit("verifier/postgres_catalog.py", "search_path = pg_catalog, pg_temp", "search_path = public, pg_temp"),),
    tests=("tests/verifier/test_schemas.py",),
)

COPIES_ELSEWHERE = Mutation(
    name="copies_elsewhere",
    invariant="I5",
    meaning="the verifier calls a log intact that is a copy, kept in order for it, of the one that the product shows",
    edits=(Edit("verifier/command.py", "    if not log.elsewhere:\n", "    if log:\n"),),
    tests=("tests/verifier/test_schemas.py",),
)

MEMBERS_ONCE = Mutation(
    name="members_once",
    invariant="I5",
    meaning="a proof is verified of which a person who opens the file reads something else",
    edits=(Edit("verifier/strict_json.py", "object_pairs_hook=_once, ", ""),),
    tests=("tests/verifier/test_one_reading.py",),
)

REPEATED_FACTS = Mutation(
    name="repeated_facts",
    invariant="I5",
    meaning="a proof is verified that names another action, confidence or reviewer beside its data",
    edits=(Edit("verifier/proof.py", "checked_leaf(row, index, copies_in(event))", "checked_leaf(row, index, ())"),),
    tests=("tests/verifier/test_one_reading.py",),
)

OF_THE_VERIFIER = (VERIFIED_SCHEMA, OWN_OPERATORS, COPIES_ELSEWHERE, MEMBERS_ONCE, REPEATED_FACTS)
