"""Every listed mutation still fits the code, leaves it readable, and is looked for by tests that exist."""

import ast

import pytest

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.tree import ROOT, DoesNotApply, Edit, Mutation, mutated, mutated_tree


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_mutation_fits_the_code_and_leaves_python(mutation: Mutation) -> None:
    for file, text in mutated(mutation).items():
        assert text != (ROOT / file).read_text(encoding="utf-8")
        if file.endswith(".py"):
            ast.parse(text)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_its_tests_exist(mutation: Mutation) -> None:
    assert mutation.tests
    assert [test for test in mutation.tests if not (ROOT / test.split("::")[0]).is_file()] == []


def test_names_are_unique() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


def test_a_mutation_that_no_longer_fits_is_refused() -> None:
    gone = Mutation("gone", "I1", "", (Edit("run", "no such line in this file", ""),), ("tests/conftest.py",))
    with pytest.raises(DoesNotApply, match="gone: run holds 0 times"):
        mutated(gone)


def test_the_copy_is_changed_and_the_tree_is_not() -> None:
    mutation = MUTATIONS[0]
    file = mutation.edits[0].file
    before = (ROOT / file).read_text(encoding="utf-8")
    with mutated_tree(mutation) as copy:
        assert (copy / file).read_text(encoding="utf-8") == mutated(mutation)[file]
        assert (copy / "tests/mutations/catalogue.py").is_file()
    assert not copy.exists()
    assert (ROOT / file).read_text(encoding="utf-8") == before
