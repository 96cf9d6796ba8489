"""The tree is RFC 9162's: its roots and proofs are those of the definitions, and of Certificate Transparency."""

import hashlib

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import merkle
from storage.merkle import Frontier

# The eight entries of Certificate Transparency's reference tests, and the roots of the trees of the first 1 … 8.
ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {  # (index, size) → path
    (0, 8): ("96a296d2", "5f083f0a", "6b47aaf2"),
    (5, 8): ("bc1a0643", "ca854ea1", "d37ee418"),
    (2, 3): ("fac54203",),
    (1, 5): ("6e340b9c", "5f083f0a", "bc1a0643"),
}
CONSISTENCY = {  # (first, second) → path
    (1, 8): ("96a296d2", "5f083f0a", "6b47aaf2"),
    (6, 8): ("0ebc5d34", "ca854ea1", "d37ee418"),
    (2, 5): ("5f083f0a", "bc1a0643"),
}
sizes = st.integers(1, 700)


def leaves_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(b"%d" % number) for number in range(size)]


LEAVES = leaves_of(700)


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = largest_power_below(len(leaves))
    return hashlib.sha256(b"\x01" + defined_root(leaves[:half]) + defined_root(leaves[half:])).digest()


def defined_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    half = largest_power_below(len(leaves))
    if index < half:
        return [*defined_path(index, leaves[:half]), defined_root(leaves[half:])]
    return [*defined_path(index - half, leaves[half:]), defined_root(leaves[:half])]


def defined_proof(first: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.4.1."""
    if first == len(leaves):
        return [] if whole else [defined_root(leaves)]
    half = largest_power_below(len(leaves))
    if first <= half:
        return [*defined_proof(first, leaves[:half], whole), defined_root(leaves[half:])]
    return [*defined_proof(first - half, leaves[half:], False), defined_root(leaves[:half])]


def largest_power_below(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


class Kept:
    """Leaves and nodes as the database keeps them."""

    def __init__(self, leaves: list[bytes], step: int = 700) -> None:
        self.leaves, self.frontier = leaves, Frontier()
        self.nodes: dict[tuple[int, int], bytes] = {}
        for begin in range(0, len(leaves), step):
            for level, position, root in self.frontier.append(leaves[begin : begin + step]):
                assert (level, position) not in self.nodes
                self.nodes[level, position] = root

    def hashes(self, level: int, start: int, stop: int) -> list[bytes]:
        if level == 0:
            return self.leaves[start:stop]
        return [self.nodes[level, position] for position in range(start, stop)]

    def roots(self, ranges: list[merkle.Range]) -> list[bytes]:
        return [merkle.root_of(self.hashes, each) for each in ranges]


KEPT = Kept(LEAVES)


def test_roots_and_paths_are_those_of_certificate_transparency() -> None:
    tree = Kept([merkle.leaf_hash(entry) for entry in ENTRIES])
    for size, root in enumerate(ROOTS, 1):
        assert merkle.root_of(tree.hashes, (0, size)).hex() == root
        assert Kept(tree.leaves[:size]).frontier.root().hex() == root
    for asked, path in INCLUSION.items():
        assert tuple(each.hex()[:8] for each in tree.roots(merkle.inclusion_ranges(*asked))) == path
    for asked, path in CONSISTENCY.items():
        assert tuple(each.hex()[:8] for each in tree.roots(merkle.consistency_ranges(*asked))) == path


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=40), st.data())
def test_another_implementation_has_the_same_roots_and_paths(entries: list[bytes], data: st.DataObject) -> None:
    other = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        other.append_entry(entry)
    ours = Kept([merkle.leaf_hash(entry) for entry in entries])
    assert ours.frontier.root() == other.get_root()
    index = data.draw(st.integers(0, len(entries) - 1))
    theirs = other.prove_inclusion(index + 1, len(entries)).path  # counts from one, and begins with the leaf itself
    assert [ours.leaves[index], *ours.roots(merkle.inclusion_ranges(index, len(entries)))] == list(theirs)


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == merkle.root_of(KEPT.hashes, (0, 0)) == hashlib.sha256(b"").digest()


@given(sizes, st.integers(1, 700))
def test_a_frontier_has_the_defined_root_however_its_leaves_came(size: int, step: int) -> None:
    assert Kept(LEAVES[:size], step).frontier.root() == defined_root(LEAVES[:size])


def test_nodes_are_the_roots_of_complete_subtrees_and_nothing_else() -> None:
    tree = Kept(leaves_of(256 * 256 + 300))
    assert set(tree.nodes) == {(1, position) for position in range(257)} | {(2, 0)}
    assert tree.nodes[1, 2] == defined_root(tree.leaves[512:768])
    assert tree.nodes[2, 0] == defined_root(tree.leaves[: 256 * 256])


@given(st.data(), sizes)
def test_inclusion_paths_are_the_defined_ones_and_prove(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = KEPT.roots(merkle.inclusion_ranges(index, size))
    assert path == defined_path(index, LEAVES[:size])
    assert merkle.proves_inclusion(LEAVES[index], index, size, path, defined_root(LEAVES[:size]))


@given(st.data(), sizes)
def test_consistency_paths_are_the_defined_ones_and_prove(data: st.DataObject, second: int) -> None:
    first = data.draw(st.integers(1, second))
    path = KEPT.roots(merkle.consistency_ranges(first, second))
    assert path == defined_proof(first, LEAVES[:second])
    roots = defined_root(LEAVES[:first]), defined_root(LEAVES[:second])
    assert merkle.proves_consistency(first, second, path, *roots)


@given(sizes)
def test_a_frontier_read_from_the_tree_goes_on_as_the_one_that_grew(size: int) -> None:
    read = Frontier(size, KEPT.roots(merkle.frontier_ranges(size)))
    nodes = read.append(LEAVES[size:])
    assert read.root() == KEPT.frontier.root()
    assert nodes == [(level, place, KEPT.nodes[level, place]) for level, place in KEPT.nodes if place >= size >> 8]


def changes_of(path: list[bytes]) -> list[list[bytes]]:
    """Every way to be one hash too long or short, and some ways to be wrong."""
    other = hashlib.sha256(b"other").digest()
    changed = [[*path, other], [other, *path]]
    for place, each in enumerate(path):
        flipped = bytes([each[0] ^ 1]) + each[1:]
        changed += [path[:place] + path[place + 1 :], [*path[:place], flipped, *path[place + 1 :]]]
        changed += [[*path[:place], each[:-1], *path[place + 1 :]], [*path[:place], each + b"\0", *path[place + 1 :]]]
    return changed


@given(st.data(), sizes)
def test_a_forged_inclusion_is_refused(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path, leaf, root = defined_path(index, LEAVES[:size]), LEAVES[index], defined_root(LEAVES[:size])
    for forged in changes_of(path):
        assert not merkle.proves_inclusion(leaf, index, size, forged, root)
    elsewhere = data.draw(st.integers(-2, size + 2).filter(lambda place: place != index))
    assert not merkle.proves_inclusion(leaf, elsewhere, size, path, root)
    assert not merkle.proves_inclusion(merkle.leaf_hash(b"x"), index, size, path, root)
    assert not merkle.proves_inclusion(leaf, index, size, path, leaf[:-1])


@given(st.data(), sizes)
def test_a_forged_consistency_is_refused(data: st.DataObject, second: int) -> None:
    first = data.draw(st.integers(1, second))
    path = defined_proof(first, LEAVES[:second])
    roots = defined_root(LEAVES[:first]), defined_root(LEAVES[:second])
    for forged in changes_of(path):
        assert not merkle.proves_consistency(first, second, forged, *roots)
    assert not merkle.proves_consistency(first, second, path, merkle.leaf_hash(b"x"), roots[1])
    assert not merkle.proves_consistency(first, second, path, roots[0], merkle.leaf_hash(b"x"))
    assert not merkle.proves_consistency(0, second, path, *roots)
    assert not merkle.proves_consistency(second + 1, second, path, *roots)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_a_leaf_outside_the_tree_has_no_path(index: int, size: int) -> None:
    with pytest.raises(ValueError):
        merkle.inclusion_ranges(index, size)


@pytest.mark.parametrize(("first", "second"), [(0, 3), (4, 3), (-1, 3)])
def test_a_tree_does_not_grow_from_a_larger_or_an_empty_one(first: int, second: int) -> None:
    with pytest.raises(ValueError):
        merkle.consistency_ranges(first, second)


def test_a_frontier_of_the_wrong_number_of_roots_is_refused() -> None:
    with pytest.raises(ValueError):
        Frontier(3, [LEAVES[0]])
