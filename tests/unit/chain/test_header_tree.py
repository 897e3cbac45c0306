"""The header tree: shape, status, choice of chain, against plain models and real chains."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from btcnode.chain.active_chain import ActiveChain
from btcnode.chain.block_status import (
    FAILED_CHILD,
    FAILED_VALID,
    HAVE_DATA,
    HAVE_UNDO,
    OPT_WITNESS,
    VALID_SCRIPTS,
    VALID_TRANSACTIONS,
    VALID_TREE,
)
from btcnode.chain.header_tree import HeaderTree, skip_height
from btcnode.errors import CorruptionError, Fault, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import from_display
from btcnode.primitives.header import HEADER_STRUCT, header_hash
from btcnode.storage.block_index import IndexColumns
from btcnode.testing.blocks import grind

REGTEST = params_for("regtest")
NOW = 1_600_000_000
BITS = 0x207FFFFF


def make_header(parent: bytes, *, salt: int = 0, time_step: int = 600, bits: int = BITS, valid: bool = True) -> bytes:
    """A regtest header on top of the 80 bytes ``parent``."""
    time = int.from_bytes(parent[68:72], "little") + time_step
    root = salt.to_bytes(32, "little")
    return grind(HEADER_STRUCT.pack(0x20000000, header_hash(parent), root, time, bits, 0), valid=valid)


def extend(tree: HeaderTree, parent: int, count: int, salt: int = 0) -> list[int]:
    """Add ``count`` headers on top of ``parent``."""
    added = []
    for _ in range(count):
        parent, is_new = tree.add(make_header(tree.raw(parent), salt=salt), NOW)
        assert is_new
        added.append(parent)
    return added


def reload(tree: HeaderTree) -> HeaderTree:
    """The same rows as after writing and reading them."""
    columns = IndexColumns()
    columns.extend_records(b"".join(map(tree.columns.record, range(len(tree)))))
    return HeaderTree(tree.params, columns)


def random_tree(seed: int, size: int) -> HeaderTree:
    rng = random.Random(seed)
    tree = HeaderTree(REGTEST, salt=seed)
    for salt in range(size):
        # mostly growth at the newest rows, with forks of every depth
        parent = len(tree) - 1 - min(int(rng.expovariate(0.3)), len(tree) - 1)
        tree.add(make_header(tree.raw(parent), salt=salt), NOW)
    return tree


def path_of(tree: HeaderTree, index: int) -> list[int]:
    """From genesis to ``index``, by parents alone."""
    path = []
    while index >= 0:
        path.append(index)
        index = tree.prev(index)
    return path[::-1]


def code_of(tree: HeaderTree, raw: bytes, now: int = NOW) -> tuple[str, Fault]:
    with pytest.raises(RuleViolation) as caught:
        tree.add(raw, now)
    return caught.value.code, caught.value.fault


def test_genesis_alone() -> None:
    tree = HeaderTree(REGTEST)
    assert len(tree) == 1 and tree.best_header == 0
    assert tree.hash(0) == REGTEST.genesis_hash and tree.find(REGTEST.genesis_hash) == 0
    assert tree.raw(0) == REGTEST.genesis_block[:80]
    assert (tree.prev(0), tree.height(0), tree.status(0), tree.chainwork(0)) == (-1, 0, VALID_TREE, 2)
    assert tree.tips() == [0] and tree.locator(0) == [REGTEST.genesis_hash]
    assert tree.find(bytes(32)) == -1


def test_fields_of_a_header() -> None:
    tree = HeaderTree(REGTEST)
    raw = make_header(REGTEST.genesis_block[:80], salt=7)
    assert tree.add(raw, NOW) == (1, True)
    assert tree.add(raw, NOW) == (1, False)
    assert tree.raw(1) == raw and tree.hash(1) == header_hash(raw)
    assert tree.version(1) == 0x20000000 and tree.bits(1) == BITS and tree.time(1) == tree.time(0) + 600
    assert tree.chainwork(1) == 4 and tree.best_header == 1


def test_rejections() -> None:
    tree = HeaderTree(REGTEST)
    genesis = tree.raw(0)
    assert code_of(tree, make_header(genesis, valid=False)) == ("high-hash", Fault.INVALID_HEADER)
    orphan = make_header(make_header(genesis))
    assert code_of(tree, orphan) == ("prev-blk-not-found", Fault.MISSING_PREV)
    assert code_of(tree, make_header(genesis, bits=0x207FFFFE)) == ("bad-diffbits", Fault.INVALID_HEADER)
    assert code_of(tree, make_header(genesis, time_step=0)) == ("time-too-old", Fault.INVALID_HEADER)
    early = make_header(genesis)
    assert code_of(tree, early, now=tree.time(0) - 7000) == ("time-too-new", Fault.TIME_FUTURE)
    assert len(tree) == 1
    child, _ = tree.add(early, NOW)
    tree.mark_failed(child)
    assert code_of(tree, early) == ("duplicate-invalid", Fault.CACHED_INVALID)
    assert code_of(tree, orphan) == ("bad-prevblk", Fault.INVALID_PREV)


def test_add_many_stops_at_the_first_violation() -> None:
    tree = HeaderTree(REGTEST)
    raws = [tree.raw(0)]
    for salt in range(5):
        raws.append(make_header(raws[-1], salt=salt))
    bad = make_header(raws[3], valid=False)
    result = tree.add_many([*raws[:4], bad, *raws[4:]], NOW)
    assert (result.last, result.new) == (3, 3)
    assert result.violation is not None and result.violation.code == "high-hash" and result.refused == bad
    assert tree.add_many(raws, NOW) == (5, 2, None, b"")


@pytest.mark.parametrize("seed", range(4))
def test_shape_against_walks(seed: int) -> None:
    """Ancestors, forks, tips, children, descendants and locators of random trees, before and after a reload."""
    built = random_tree(seed, 400)
    rng = random.Random(seed)
    for tree in (built, reload(built)):
        paths = [path_of(tree, i) for i in range(len(tree))]
        for i, path in enumerate(paths):
            assert tree.height(i) == len(path) - 1
            for height in {0, len(path) - 1, *(rng.randrange(len(path)) for _ in range(5))}:
                assert tree.ancestor(i, height) == path[height]
            assert tree.ancestor(i, len(path)) == -1 and tree.ancestor(i, -1) == -1
            assert tree.find(tree.hash(i)) == i
            times = sorted(tree.time(j) for j in path[-11:])
            assert tree.median_time_past(i) == times[len(times) // 2]
            assert tree.chainwork(i) == 2 * len(path)
        for _ in range(300):
            a, b = rng.randrange(len(tree)), rng.randrange(len(tree))
            common = [x for x, y in zip(paths[a], paths[b], strict=False) if x == y]
            assert tree.find_fork(a, b) == common[-1]
            assert tree.is_ancestor(a, b) == (a in paths[b])
        parents = {tree.prev(i) for i in range(len(tree))}
        assert tree.tips() == [i for i in range(len(tree)) if i not in parents]
        for i in rng.sample(range(len(tree)), 40):
            assert tree.children(i) == [j for j in range(len(tree)) if tree.prev(j) == i]
            assert tree.descendants(i) == [j for j in range(len(tree)) if j != i and i in paths[j]]
        most = max(range(len(tree)), key=lambda i: (tree.chainwork(i), -i))
        assert tree.best_header == most


def test_skip_heights() -> None:
    """Core's sequence: odd heights jump by clearing two more bits than even ones."""
    assert [skip_height(h) for h in range(13)] == [0, 0, 0, 1, 0, 1, 4, 1, 0, 1, 8, 1, 8]
    assert skip_height(2**20) == 0 and skip_height(2**20 + 1) == 1


def test_locator_spacing() -> None:
    tree = HeaderTree(REGTEST)
    top = extend(tree, 0, 60)[-1]
    heights = [tree.height(tree.find(h)) for h in tree.locator(top)]
    assert heights == [60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 47, 43, 35, 19, 0]


def test_best_header_is_the_first_of_equals() -> None:
    tree = HeaderTree(REGTEST)
    first = extend(tree, 0, 3, salt=1)
    second = extend(tree, 0, 3, salt=2)
    assert tree.best_header == first[-1]
    longer = extend(tree, second[-1], 1, salt=2)[0]
    assert tree.best_header == longer
    tree.mark_failed(second[1])
    assert tree.best_header == first[-1]
    tree.clear_failed(longer)
    assert tree.best_header == longer


def test_blocks_in_any_order() -> None:
    """chain_tx appears when the last missing ancestor arrives; a reload keeps what still waits."""
    tree = HeaderTree(REGTEST)
    chain = [0, *extend(tree, 0, 6)]
    side = extend(tree, chain[3], 2, salt=9)
    for index in (chain[5], chain[6], side[1], chain[4], side[0]):
        assert tree.receive_block(index, 10, 0, index) == []
    assert tree.best_candidate(-1) == -1
    assert tree.receive_block(0, 1, 0, 8) == [0]
    tree = reload(tree)
    assert tree.receive_block(chain[1], 3, 0, 1) == [chain[1]]
    assert tree.receive_block(chain[2], 3, 0, 2) == [chain[2]]
    assert tree.best_candidate(0) == chain[2]
    linked = tree.receive_block(chain[3], 3, 2, 77)
    assert sorted(linked) == sorted([*chain[3:], *side])
    assert all(linked.index(tree.prev(i)) < linked.index(i) for i in linked[1:])
    assert tree.columns.chain_tx[chain[6]] == 1 + 9 + 30 and tree.columns.chain_tx[side[1]] == 1 + 9 + 20
    assert tree.best_candidate(chain[2]) == chain[6]
    assert (tree.columns.file[chain[3]], tree.columns.data_pos[chain[3]]) == (2, 77)
    assert tree.receive_block(chain[3], 3, 2, 77) == []


def test_status_bits() -> None:
    tree = HeaderTree(REGTEST)
    tree.receive_block(0, 1, 0, 8)
    a, b = extend(tree, 0, 2)
    tree.receive_block(a, 1, 0, 300)
    assert tree.status(a) == VALID_TRANSACTIONS | HAVE_DATA | OPT_WITNESS and tree.has_data(a)
    assert tree.raise_validity(a, VALID_SCRIPTS) and not tree.raise_validity(a, VALID_TRANSACTIONS)
    tree.set_undo(a, 40)
    assert tree.status(a) == VALID_SCRIPTS | HAVE_DATA | HAVE_UNDO | OPT_WITNESS and tree.has_undo(a)
    assert tree.mark_failed(a) == [a, b] and tree.mark_failed(a) == []
    assert tree.status(a) & FAILED_VALID and tree.status(b) == VALID_TREE | FAILED_CHILD
    assert not tree.raise_validity(b, VALID_TRANSACTIONS)
    assert tree.clear_failed(b) == [a, b]
    assert not tree.is_failed(a) and tree.validity(a) == VALID_SCRIPTS
    with pytest.raises(ValueError, match="genesis"):
        tree.mark_failed(0)


def test_verdicts_that_a_rebuild_forgets() -> None:
    """Core connects blocks when all are stored: it never tries a branch that has less work."""
    tree = HeaderTree(REGTEST)
    tree.receive_block(0, 1, 0, 8)
    short, weak, strong, unstored = (extend(tree, 0, count, salt=n) for n, count in enumerate((2, 2, 5, 2), 1))
    active = extend(tree, 0, 4, salt=9)
    for index in (*short, *weak, *strong, *active):
        tree.receive_block(index, 1, 0, index)
        tree.raise_validity(index, VALID_SCRIPTS)
        tree.set_undo(index, index)
    tree.mark_failed(weak[0])
    tree.mark_failed(strong[2])
    tree.mark_failed(unstored[0])
    tree.forget_side_verdicts(active[-1])
    assert [tree.validity(index) for index in (*short, *weak)] == [VALID_TRANSACTIONS] * 4
    assert not any(tree.is_failed(index) for index in (*short, *weak, *active))
    assert [tree.is_failed(index) for index in strong] == [False, False, True, True, True]
    assert [tree.validity(index) for index in (*strong[:2], *active)] == [VALID_SCRIPTS] * 6
    assert all(tree.is_failed(index) for index in unstored)
    assert tree.best_candidate(active[-1]) == active[-1]


def test_candidates_first_received_wins() -> None:
    tree = HeaderTree(REGTEST)
    tree.receive_block(0, 1, 0, 8)
    headers_first = extend(tree, 0, 2, salt=1)
    headers_second = extend(tree, 0, 2, salt=2)
    for index in (*headers_second, *headers_first):
        tree.receive_block(index, 1, 0, index)
    assert tree.best_candidate(0) == headers_second[1]
    assert tree.best_candidate(headers_second[1]) == headers_second[1]
    # preciousblock: the preferred one becomes best, and the one preferred last wins
    tree.prefer(headers_first[1], headers_second[1])
    assert tree.best_candidate(headers_second[1]) == headers_first[1]
    tree.prefer(headers_second[1], headers_first[1])
    assert tree.best_candidate(headers_first[1]) == headers_second[1]
    tree.mark_failed(headers_second[0])
    assert tree.best_candidate(0) == headers_first[1]
    tree.mark_failed(headers_first[1])
    assert tree.best_candidate(0) == headers_first[0]
    tree.clear_failed(headers_second[1])
    assert tree.best_candidate(headers_first[0]) == headers_second[1]


@pytest.mark.parametrize("again", [False, True])
def test_what_builds_on_a_dropped_block_waits_for_it(*, again: bool) -> None:
    tree = HeaderTree(REGTEST)
    tree.receive_block(0, 1, 0, 0)
    chain = extend(tree, 0, 6)
    fork = extend(tree, chain[3], 3, salt=1)
    for index in (*chain, *fork[:2]):
        tree.receive_block(index, 1, 0, 8 * index)
    assert tree.best_candidate(chain[1]) == chain[5]
    tree.drop_block(chain[2])
    assert not any(map(tree.is_linked, (*chain[2:], *fork))) and tree.is_linked(chain[1])
    assert not tree.has_data(chain[2]) and tree.has_data(chain[3])
    assert tree.best_candidate(0) == tree.best_candidate(chain[1]) == chain[1]
    if again:
        tree.drop_block(chain[3])
    back = tree.receive_block(chain[2], 1, 0, 8)
    if again:
        assert back == [chain[2]] and tree.best_candidate(chain[1]) == chain[2]
        back += tree.receive_block(chain[3], 1, 0, 16)
    assert sorted(back) == sorted([*chain[2:], *fork[:2]])
    assert tree.best_candidate(chain[1]) in (chain[5], fork[1])
    tree.receive_block(fork[2], 1, 0, 24)
    assert tree.best_candidate(chain[1]) == fork[2]


def test_a_failed_or_unlinked_block_is_preferred_for_later() -> None:
    tree = HeaderTree(REGTEST)
    tree.receive_block(0, 1, 0, 8)
    first, second, third = (extend(tree, 0, 2, salt=salt) for salt in (1, 2, 3))
    for index in (*first, *second):
        tree.receive_block(index, 1, 0, index)
    tree.mark_failed(second[0])
    tree.prefer(second[1], first[1])
    assert tree.best_candidate(first[1]) == first[1]
    tree.clear_failed(second[0])
    assert tree.best_candidate(first[1]) == second[1]
    tree.prefer(third[1], second[1])
    assert tree.best_candidate(second[1]) == second[1]
    for index in third:
        tree.receive_block(index, 1, 0, index)
    assert tree.best_candidate(second[1]) == second[1], "it was received last, and only that counts then"


def test_preferring_begins_anew_on_a_longer_chain() -> None:
    """Core's counter starts again when the tip has more work than at the last time."""
    tree = HeaderTree(REGTEST)
    tree.receive_block(0, 1, 0, 8)
    first, second, third = (extend(tree, 0, 3, salt=salt) for salt in (1, 2, 3))
    for index in (*first, *second, *third):
        tree.receive_block(index, 1, 0, index)
    for index in (second[2], first[2], second[2]):
        tree.prefer(index, first[1])  # -1, -2, -3
    tree.prefer(third[2], first[2])  # -1
    assert tree.best_candidate(first[2]) == second[2]
    tree.prefer(third[2], first[2])
    tree.prefer(third[2], first[2])
    assert tree.best_candidate(first[2]) == second[2], "equal: the one known first"
    tree.prefer(third[2], first[2])
    assert tree.best_candidate(first[2]) == third[2]


def test_tip_stays_among_equals_after_reload() -> None:
    tree = HeaderTree(REGTEST)
    tree.receive_block(0, 1, 0, 8)
    first, second = extend(tree, 0, 2, salt=1), extend(tree, 0, 2, salt=2)
    for index in (*first, *second):
        tree.receive_block(index, 1, 0, index)
    tree = reload(tree)
    assert tree.best_candidate(second[1]) == second[1]
    assert tree.best_candidate(first[1]) == first[1]
    assert tree.best_candidate(0) == first[1]


def test_candidates_against_a_model() -> None:
    """Random arrivals, failures and their repeal: the candidate is always the model's."""
    rng = random.Random(5)
    tree = random_tree(11, 150)
    failed: set[int] = set()
    arrived: set[int] = set()
    order: dict[int, int] = {}
    paths = [path_of(tree, i) for i in range(len(tree))]

    def sound(i: int) -> bool:
        return i not in failed

    for _ in range(600):
        i = rng.randrange(len(tree))
        action = rng.random()
        if action < 0.8:
            for linked in tree.receive_block(i, 1 + i, 0, i):
                order[linked] = len(order)
            arrived.add(i)
        elif action < 0.93 and i:
            tree.mark_failed(i)
            failed |= {j for j in range(len(tree)) if i in paths[j]}
        else:
            tree.clear_failed(i)
            failed -= {j for j in failed if j in paths[i] or i in paths[j]}
        complete = [j for j in range(len(tree)) if arrived.issuperset(paths[j]) and sound(j)]
        expected = max(complete, key=lambda j: (tree.chainwork(j), -order[j]), default=-1)
        assert tree.best_candidate(-1) == expected
        assert [tree.is_failed(j) for j in range(len(tree))] == [not sound(j) for j in range(len(tree))]
        best = max((j for j in range(len(tree)) if sound(j)), key=lambda j: (tree.chainwork(j), -j))
        assert tree.chainwork(tree.best_header) == tree.chainwork(best) and sound(tree.best_header)


def test_dirty_rows() -> None:
    tree = HeaderTree(REGTEST)
    chain = extend(tree, 0, 3)
    assert tree.take_dirty() == [0, *chain] and tree.take_dirty() == []
    tree.receive_block(0, 1, 0, 8)
    tree.receive_block(chain[0], 1, 0, 9)
    tree.mark_failed(chain[2])
    assert tree.take_dirty(limit=2) == [0, chain[0]] and tree.take_dirty() == [chain[2]]
    tree.restore_dirty([0, 2])
    assert tree.take_dirty() == [0, 2]
    tree = reload(tree)
    assert tree.take_dirty() == []
    tree.receive_block(chain[1], 1, 0, 10)
    assert tree.take_dirty() == [chain[1]]


def test_rows_that_are_no_tree() -> None:
    tree = HeaderTree(REGTEST)
    extend(tree, 0, 3)
    tree.columns.prev[2] = 3
    with pytest.raises(CorruptionError, match="row 2"):
        reload(tree)
    with pytest.raises(CorruptionError, match="another network"):
        HeaderTree(params_for("mainnet"), HeaderTree(REGTEST).columns)


def test_hash_table_survives_growth() -> None:
    """More rows than the first table holds, found before and after the rebuilds."""
    tree = HeaderTree(REGTEST, salt=0)
    chain = extend(tree, 0, 1500)
    assert [tree.find(tree.hash(i)) for i in chain] == chain
    again = reload(tree)
    assert [again.find(tree.hash(i)) for i in chain] == chain
    assert again.find(bytes(31) + b"\x01") == -1


def test_active_chain() -> None:
    tree = HeaderTree(REGTEST)
    main = [0, *extend(tree, 0, 30, salt=1)]
    side = extend(tree, main[20], 15, salt=2)
    chain = ActiveChain(tree)
    assert (chain.tip, chain.height, chain.at(0), len(chain)) == (-1, -1, -1, 0) and not chain.contains(0)
    assert chain.find_fork(main[3]) == -1 and chain.find_fork_with(tree.locator(main[3])) == -1
    for tip in (main[10], main[30], side[-1], main[5], side[3], main[30]):
        chain.set_tip(tip)
        path = path_of(tree, tip)
        assert [chain.at(h) for h in range(len(chain))] == path and chain.tip == tip
        assert [chain.contains(i) for i in range(len(tree))] == [i in path for i in range(len(tree))]
    assert chain.next(main[20]) == main[21] and chain.next(main[30]) == -1 and chain.next(side[0]) == -1
    assert chain.at(31) == -1 and chain.at(-1) == -1
    assert chain.find_fork(side[-1]) == main[20] and chain.find_fork(main[7]) == main[7]
    assert chain.find_fork_with(tree.locator(side[-1])) == main[18]  # the locator's next hash below the fork
    assert chain.find_fork_with([bytes(32)]) == 0
    chain.set_tip(main[25])
    assert chain.find_fork_with(tree.locator(main[30])) == main[25]
    chain.set_tip(-1)
    assert len(chain) == 0


@pytest.mark.parametrize(
    ("network", "file", "tip"),
    [
        (
            "mainnet",
            "floresta/headers_mainnet_0_10236.bin",
            "000000004f74d42205b9d7ae1cb5c1591e723894a71358fce73b7e0919628161",
        ),
        ("testnet3", "veriblock/headers_testnet3_0_9999.bin", None),
        ("signet", "floresta/headers_signet_0_2015.bin", None),
    ],
)
def test_real_headers(vectors: Path, network: str, file: str, tip: str | None) -> None:
    """Real chains pass all header rules, come back unchanged, and one wrong bit stops them."""
    data = (vectors / file).read_bytes()
    raws = [data[i : i + 80] for i in range(0, len(data), 80)]
    tree = HeaderTree(params_for(network))
    result = tree.add_many(raws, NOW)
    assert result == (len(raws) - 1, len(raws) - 1, None, b"")
    assert [tree.raw(i) for i in range(len(raws))] == raws
    if tip is not None:
        assert tree.hash(tree.best_header) == from_display(tip)
    if network == "mainnet":
        assert tree.chainwork(10079) == 0x276027602760
    spoiled = bytearray(raws[-1])
    spoiled[76] ^= 1
    assert code_of(tree, bytes(spoiled))[0] == "high-hash"
