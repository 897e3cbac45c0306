"""Verification in parts: sums that come out, and every kind of fault found and named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from btcnode.data.export import ExportFolder, ExportForm, export_chain
from btcnode.data.folder import BlockFolder, DataError
from btcnode.data.report import Report
from btcnode.data.schema import TABLES
from btcnode.data.tables import TableChain
from btcnode.data.tasks import TaskRunner
from btcnode.data.verification import FolderWork, TableWork, verify_chain
from btcnode.data.verify import Failure, VerifyTask
from btcnode.errors import ConfigError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.coin import coin_value, make_txout
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.storage.muhash import MuHash
from btcnode.testing.blocks import coinbase_tx
from btcnode.testing.templates import TEMPLATES, signed_tx
from tests.lib.block_folder import UncheckedChain, WrittenFolder, busy_chain, folder_of, stored
from tests.lib.mini_chain import REGTEST, MiniChain, spend

TASK = 4000  # bytes: some tasks of several blocks


@pytest.fixture(scope="module")
def chain() -> UncheckedChain:
    return busy_chain()


def muhash_of(chain: MiniChain) -> str:
    sums = MuHash()
    sums.insert_many([outpoint + coin for outpoint, coin in chain.coins.coins.items()])
    return to_display(sums.digest())


def verified(folder: Path, last: int | None = None, expected: str | None = None, task_bytes: int = TASK) -> Report:
    with TaskRunner() as runner:
        work = FolderWork(BlockFolder(folder, REGTEST))
        return verify_chain(work, runner, last=last, expected_muhash=expected, task_bytes=task_bytes)


def only_failure(report: Report) -> Failure:
    assert not report.is_good
    (failure,) = report.failures
    assert "NOT VALID" in report.as_text() and failure.reason in report.as_text()
    return failure


@pytest.mark.parametrize("task_bytes", [1, TASK, 1 << 30])
def test_the_sum_of_any_parts_is_the_set(chain: UncheckedChain, tmp_path: Path, task_bytes: int) -> None:
    folder = folder_of(chain, tmp_path / "blocks")
    report = verified(folder.path, expected=muhash_of(chain), task_bytes=task_bytes)
    assert report.is_good and report.muhash == muhash_of(chain)
    assert report.txouts == len(chain.coins.coins)
    assert report.amount == sum(map(coin_value, chain.coins.coins.values()))
    assert report.inputs == sum(len(spent) for _, delta in chain.history for spent in delta.undo)
    assert report.as_text().endswith("\nvalid") and report.picture().startswith("<svg")
    assert report.as_json()["blocks"] == chain.tip + 1


def test_an_export_is_verified_as_the_files_are(chain: UncheckedChain, tmp_path: Path) -> None:
    folder = folder_of(chain, tmp_path / "blocks")
    with TaskRunner() as runner:
        export_chain(BlockFolder(folder.path, REGTEST), tmp_path / "out", ExportForm(TABLES, True, 10), runner=runner)
        work = TableWork(TableChain(tmp_path / "out", REGTEST))
        report = verify_chain(work, runner, expected_muhash=muhash_of(chain), task_bytes=TASK)
        assert report.is_good and report.height == chain.tip
        with pytest.raises(ConfigError, match="ends at"):
            verify_chain(work, runner, last=chain.tip + 1)
        with pytest.raises(ConfigError, match="lies within a row group of the export: --to can be 9 or 19"):
            verify_chain(work, runner, last=15)
        assert verify_chain(work, runner, last=19, task_bytes=TASK).is_good
    with pytest.raises(ConfigError, match="no folder of an export"):
        TableChain(tmp_path / "blocks", REGTEST)


def test_blocks_that_no_task_has_are_missed(chain: UncheckedChain, tmp_path: Path) -> None:
    class Lazy(FolderWork):
        def tasks(self, last: int, task_bytes: int) -> Iterator[VerifyTask]:
            yield from list(super().tasks(last, task_bytes))[:-1]

    with TaskRunner() as runner:
        work = Lazy(BlockFolder(folder_of(chain, tmp_path / "blocks").path, REGTEST))
        report = verify_chain(work, runner, task_bytes=TASK)
    assert [failure.reason for failure in report.failures] == ["unreadable"]
    assert "blocks were looked at" in report.failures[0].detail


def test_coins_that_nobody_is_found_to_have_spent_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = UncheckedChain(blocks=110)
    chain.accept(chain.template(spend(chain.coinbases[1], value=5)).build())
    chain.accept(chain.template().build())
    chain.force(chain.template(spend(chain.coinbases[2], chain.coinbases[1], value=7)).build())
    folder = folder_of(chain, tmp_path / "blocks")
    monkeypatch.setattr("btcnode.data.verification.find_spends", lambda shared, task: [])
    failure = only_failure(verified(folder.path))
    assert failure.reason == "bad-txns-inputs-missingorspent" and failure.detail.startswith("1 coins")


def test_a_set_that_is_another_is_told(chain: UncheckedChain, tmp_path: Path) -> None:
    folder = folder_of(chain, tmp_path / "blocks")
    report = verified(folder.path, expected="ab" * 32)
    assert not report.is_good and not report.failures and f"should be {'ab' * 32}" in report.as_text()


def with_bad_signature(chain: UncheckedChain) -> Tx:
    """A spend of two good coins, the second with a signature of something else."""
    how = TEMPLATES["p2wpkh"](1)
    outpoint = chain.coinbases[2]
    value = coin_value(chain.coins.coins[outpoint])
    pay = spend(outpoint, value=0)
    pay = Tx(2, pay.prevouts, pay.script_sigs, pay.sequences, [make_txout(value // 2, how.script_pubkey)] * 2)
    chain.accept(chain.template(pay).build())
    outpoints = [pay.txid + vout.to_bytes(4, "little") for vout in (0, 1)]
    coins = [chain.coins.coins[at][4:] for at in outpoints]
    good = signed_tx([(at, coin, how) for at, coin in zip(outpoints, coins, strict=True)], [make_txout(9, b"\x51")])
    assert good.witnesses is not None
    stack = list(good.witnesses[1])
    signature = bytearray(stack[0])
    signature[40] ^= 1
    stack[0] = bytes(signature)
    return Tx(2, good.prevouts, good.script_sigs, good.sequences, good.txouts, [good.witnesses[0], stack], 0)


def test_a_bad_signature_is_named(tmp_path: Path) -> None:
    chain = UncheckedChain(blocks=105)
    bad = with_bad_signature(chain)
    block = chain.force(chain.template(bad).build())
    for _ in range(3):
        chain.force(chain.template().build())
    folder = folder_of(chain, tmp_path / "blocks")
    failure = only_failure(verified(folder.path))
    assert (failure.height, failure.block) == (107, to_display(block.hash))
    assert (failure.txid, failure.input) == (to_display(bad.txid), 1)
    assert failure.reason.startswith("block-script-verify-flag-failed")


def test_an_inflated_coinbase_is_named(tmp_path: Path) -> None:
    chain = UncheckedChain(blocks=30)
    block = chain.force(replace(chain.template(), coinbase_value=50 * 10**8 + 1).build())
    folder = folder_of(chain, tmp_path / "blocks")
    failure = only_failure(verified(folder.path))
    assert (failure.height, failure.reason, failure.txid) == (31, "bad-cb-amount", to_display(block.txids[0]))


@pytest.mark.parametrize("task_bytes", [1, TASK, 1 << 30], ids=["tasks apart", "some", "one task"])
def test_all_that_is_wrong_with_a_chain_is_named(tmp_path: Path, task_bytes: int) -> None:
    chain, faults = chain_with_three_faults()
    folder = folder_of(chain, tmp_path / "blocks")
    report = verified(folder.path, task_bytes=task_bytes)
    assert not report.is_good
    assert [(item.height, item.reason.partition(" ")[0], item.txid, item.input) for item in report.failures] == faults


def chain_with_three_faults() -> tuple[UncheckedChain, list[tuple[int, str, str, int]]]:
    """A bad signature, an inflated coinbase, a coin spent twice; and how they have to be named."""
    chain = UncheckedChain(blocks=105)
    bad = with_bad_signature(chain)
    chain.force(chain.template(bad).build())
    inflated = chain.force(replace(chain.template(), coinbase_value=50 * 10**8 + 1).build())
    chain.accept(chain.template(spend(chain.coinbases[3], value=5)).build())
    twice = spend(chain.coinbases[4], chain.coinbases[3], value=7)
    chain.force(chain.template(twice).build())
    chain.force(chain.template().build())
    return chain, [
        (107, "block-script-verify-flag-failed", to_display(bad.txid), 1),
        (108, "bad-cb-amount", to_display(inflated.txids[0]), -1),
        (110, "bad-txns-inputs-missingorspent", to_display(twice.txid), 1),
    ]


@pytest.mark.parametrize("task_bytes", [1, TASK, 1 << 30], ids=["tasks apart", "some", "one task"])
def test_a_coin_spent_twice_is_named(tmp_path: Path, task_bytes: int) -> None:
    chain = UncheckedChain(blocks=110)
    first, second = spend(chain.coinbases[1], value=5), spend(chain.coinbases[2], chain.coinbases[1], value=7)
    chain.accept(chain.template(first).build())
    chain.accept(chain.template().build())
    block = chain.force(chain.template(second).build())
    folder = folder_of(chain, tmp_path / "blocks")
    failure = only_failure(verified(folder.path, task_bytes=task_bytes))
    assert (failure.height, failure.block) == (113, to_display(block.hash))
    assert (failure.reason, failure.txid, failure.input) == (
        "bad-txns-inputs-missingorspent", to_display(second.txid), 1,
    )  # fmt: skip
    assert f"input 0 of {to_display(first.txid)} at height 111" in failure.detail


def test_a_coin_that_was_told_with_another_amount_is_named(tmp_path: Path) -> None:
    chain = UncheckedChain(blocks=110)
    tx = spend(chain.coinbases[3], value=60 * 10**8)
    outpoint, coin = chain.coinbases[3], chain.ever[chain.coinbases[3]]
    chain.ever[outpoint] = coin[:4] + (70 * 10**8).to_bytes(8, "little") + coin[12:]
    chain.force(chain.template(tx).build())
    chain.coins.coins.pop(outpoint, None)
    folder = folder_of(chain, tmp_path / "blocks")
    failure = only_failure(verified(folder.path))
    assert failure.height == 111 and failure.txid == to_display(tx.txid) and "was not made with" in failure.detail


@pytest.mark.parametrize(
    ("offset", "undo", "reason"),
    [
        (60, False, ""),  # of the merkle root: then it is another header
        (90, False, "bad-txnmrklroot"),
        (-40, False, ""),
        (3, True, "unreadable"),
    ],
)
def test_a_flipped_byte_is_found(chain: UncheckedChain, tmp_path: Path, offset: int, undo: bool, reason: str) -> None:
    folder = folder_of(chain, tmp_path / "blocks")
    block = chain.history[-3][0]
    positions = folder.undo_positions if undo else folder.positions
    at = offset if offset >= 0 else block.size + offset
    folder.change(positions[block.hash], at, lambda byte: byte ^ 1, undo=undo)
    report = verified(folder.path)
    assert not report.is_good
    assert chain.tip - 2 in {failure.height for failure in report.failures}, report.as_text()
    if reason:
        assert reason in {failure.reason for failure in report.failures}, report.as_text()


def test_a_witness_byte_is_found_by_its_commitment(chain: UncheckedChain, tmp_path: Path) -> None:
    folder = folder_of(chain, tmp_path / "blocks")
    block = chain.history[-1][0]
    i = next(i for i in range(1, block.n_tx) if block.body_pos[i] - block.tx_pos[i] == 6)
    folder.change(folder.positions[block.hash], block.witness_pos[i] + 20, lambda byte: byte ^ 1)
    failure = only_failure(verified(folder.path))
    assert (failure.height, failure.reason) == (chain.tip, "bad-witness-merkle-match")
    assert failure.block == to_display(block.hash)


def test_blocks_that_nobody_has_connected_are_not_passed_over(chain: UncheckedChain, tmp_path: Path) -> None:
    folder = folder_of(chain, tmp_path / "blocks")
    tip = chain.history[-1][0]
    folder.change(folder.undo_positions[tip.hash], 1, lambda byte: byte ^ 1, undo=True)
    failure = only_failure(verified(folder.path))
    assert (failure.height, failure.reason) == (chain.tip, "not-connected")
    assert "1 entries of rev" in failure.detail
    assert verified(folder.path, last=chain.tip - 1).is_good


def test_blocks_that_are_stored_ahead_are_no_fault(chain: UncheckedChain, tmp_path: Path) -> None:
    """A node that syncs has some above its tip, and some whose parents are still to come."""
    blocks = stored(chain.history)
    folder = WrittenFolder(tmp_path / "blocks")
    folder.append(blocks[:60], 1)
    folder.append([(raw, None) for raw, _ in blocks[60:70] + blocks[71:80]], 61)
    report = verified(folder.path)
    assert report.is_good and report.height == 60 and len(report.notes) == 2
    assert "up to height 70, were not verified" in report.as_text() and "9 blocks were not verified" in report.as_text()
    assert report.as_json()["notes"] == report.notes and "NOT VALID" not in report.as_text()


def test_blocks_after_a_lost_one_that_were_connected_are_a_fault(chain: UncheckedChain, tmp_path: Path) -> None:
    folder = folder_of(chain, tmp_path / "blocks")
    folder.change(folder.positions[chain.history[-3][0].hash], -8, lambda byte: byte ^ 1)  # of its frame's magic
    failure = only_failure(verified(folder.path))
    assert (failure.height, failure.reason) == (chain.tip - 2, "unlinked")
    assert "was connected, and a block before it is missing" in failure.detail


def test_undo_data_without_a_block_is_told(chain: UncheckedChain, tmp_path: Path) -> None:
    """The last block's frame is damaged: nothing but its undo data tells of it."""
    folder = folder_of(chain, tmp_path / "blocks")
    folder.change(folder.positions[chain.history[-1][0].hash], -8, lambda byte: byte ^ 1)
    report = verified(folder.path)
    assert report.height == chain.tip - 1 and report.is_good
    assert f"is {chain.tip - 1} the height that it should be?" in report.as_text()


def test_a_muhash_may_be_in_capitals(chain: UncheckedChain, tmp_path: Path) -> None:
    folder = folder_of(chain, tmp_path / "blocks")
    assert verified(folder.path, expected=muhash_of(chain).upper()).is_good


LATE = replace(REGTEST, bip34_height=60)  # the height is asked of coinbases from there on


def with_repeated_coinbase(*, first: int, again: int) -> UncheckedChain:
    """The coinbase of one height is that of another too; an output of it is spent only after the second."""
    chain = UncheckedChain(LATE)
    coinbase = coinbase_tx(again, 50 * 10**8, extra=b"twice")
    for height in range(1, again + 2):
        if height in (first, again):
            chain.force(replace(chain.template(), coinbase=coinbase).build())
        else:
            chain.force(chain.template().build())
    return chain


def report_of(chain: UncheckedChain, folder: Path, params: NetworkParams, task_bytes: int = TASK) -> Report:
    folder_of(chain, folder)
    with TaskRunner() as runner:
        return verify_chain(FolderWork(BlockFolder(folder, params)), runner, task_bytes=task_bytes)


@pytest.mark.parametrize("again", [20, 90], ids=["before BIP34", "after BIP34"])
def test_a_coinbase_that_comes_again_is_named(tmp_path: Path, again: int) -> None:
    """A block before BIP34 may have a later block's height in its coinbase: BIP30 is a rule of its own there."""
    chain = with_repeated_coinbase(first=10, again=again)
    failure = only_failure(report_of(chain, tmp_path / "blocks", LATE))
    assert (failure.height, failure.reason) == (again, "bad-txns-BIP30") and "of height 10" in failure.detail


TWICE = 115  # the height at which a coinbase comes again: that of height 10 may be spent from 110 on


def with_spent_coinbase(*, spent_at: int | None, descendant: bool = False) -> UncheckedChain:
    """The coinbase of height 10 comes again, its first one spent or not; so does the transaction that has spent it."""
    chain = UncheckedChain(LATE)
    coinbase = coinbase_tx(TWICE, 50 * 10**8, extra=b"twice")
    spending = spend(coinbase.txid + bytes(4), value=5)
    last = TWICE + 102
    for height in range(1, last + 1):
        template = chain.template(*[spending] * (height == spent_at or (descendant and height == last)))
        chain.force(replace(template, coinbase=coinbase if height in (10, TWICE) else template.coinbase).build())
    return chain


@pytest.mark.parametrize("task_bytes", [1, TASK, 1 << 30], ids=["tasks apart", "some", "one task"])
def test_a_coinbase_may_come_again_when_its_first_one_was_spent(tmp_path: Path, task_bytes: int) -> None:
    """BIP30 refuses what would overwrite an unspent coin, and nothing else."""
    chain = with_spent_coinbase(spent_at=112)
    report = report_of(chain, tmp_path / "blocks", LATE, task_bytes)
    assert report.is_good, report.as_text()
    assert report.muhash == muhash_of(chain)


@pytest.mark.parametrize("spent_at", [None, TWICE + 1], ids=["never", "too late"])
def test_a_coinbase_may_not_come_again_before_its_first_one_was_spent(tmp_path: Path, spent_at: int | None) -> None:
    report = report_of(with_spent_coinbase(spent_at=spent_at), tmp_path / "blocks", LATE)
    assert (TWICE, "bad-txns-BIP30") in {(item.height, item.reason) for item in report.failures}, report.as_text()


def test_what_descends_from_a_coinbase_that_came_again_may_not_overwrite_either(tmp_path: Path) -> None:
    chain = with_spent_coinbase(spent_at=112, descendant=True)
    failure = only_failure(report_of(chain, tmp_path / "blocks", LATE))
    assert (failure.height, failure.reason) == (chain.tip, "bad-txns-BIP30")
    assert "of height 112 comes once more" in failure.detail


@pytest.mark.parametrize("task_bytes", [1, TASK, 1 << 30])
def test_coinbases_that_were_overwritten_are_in_no_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task_bytes: int
) -> None:
    """Two of mainnet's: the later one is the coin, and the earlier never was one for the set's sum."""
    chain = with_repeated_coinbase(first=10, again=20)
    first, second = chain.history[9][0], chain.history[19][0]
    params = replace(LATE, bip30_exceptions=((20, second.hash),))
    monkeypatch.setattr("btcnode.data.verify.BIP30_OVERWRITTEN", frozenset(((10, first.hash),)))
    report = report_of(chain, tmp_path / "blocks", params, task_bytes)
    assert report.is_good and report.muhash == muhash_of(chain) and report.txouts == len(chain.coins.coins)
    assert report.amount == sum(map(coin_value, chain.coins.coins.values()))
    params = replace(LATE, bip30_exceptions=((20, first.hash),))  # at this height, another block
    assert only_failure(report_of(chain, tmp_path / "other", params)).reason == "bad-txns-BIP30"


def changed(path: Path, column: str, row: int, value: object) -> None:
    """Change a value in a file of an export."""
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = value
    at = table.schema.get_field_index(column)
    table = table.set_column(at, table.schema.field(column), pa.array(values, table.schema.field(column).type))
    pq.write_table(table, path, row_group_size=max(table.num_rows, 1))


@pytest.fixture(scope="module")
def exported(chain: UncheckedChain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export")
    folder = folder_of(chain, path / "blocks")
    with TaskRunner() as runner:
        export_chain(BlockFolder(folder.path, REGTEST), path / "out", ExportForm(TABLES, True, 100), runner=runner)
    return path / "out"


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("blocks", "fees", 5), ("blocks", "size", 1000), ("blocks", "median_time", datetime(2020, 1, 1, tzinfo=UTC)),
        ("blocks", "tx_count", 0), ("blocks", "hash", bytes(32)), ("blocks", "tx_count", 2**30),
        ("transactions", "fee", 7), ("transactions", "txid", bytes(32)), ("transactions", "input_count", -1),
        ("inputs", "prev_type", "anchor"), ("inputs", "prev_value", -5), ("inputs", "prev_height", -1),
        ("inputs", "prev_script", None), ("outputs", "type", "anchor"), ("outputs", "value", 2**63 - 1),
        ("outputs", "txid", bytes(32)),
    ],
)  # fmt: skip
def test_a_row_that_was_changed_is_found(
    exported: Path, tmp_path: Path, table: str, column: str, value: object
) -> None:
    """Also in columns that no block has."""
    shutil.copytree(exported, tmp_path / "out")
    chain = TableChain(tmp_path / "out", REGTEST)
    partition = chain.groups[-1].partition
    changed(ExportFolder(tmp_path / "out").table_path(table, partition), column, -1, value)
    with TaskRunner() as runner:
        report = verify_chain(TableWork(chain), runner, task_bytes=TASK)
    assert "unreadable" in {failure.reason for failure in report.failures}, report.as_text()


def test_an_export_that_changes_meanwhile_is_not_valid(tmp_path: Path) -> None:
    """A partition is replaced by one of another branch, while it is verified."""
    common = UncheckedChain(blocks=15)
    for name in (b"one", b"other"):
        branch = UncheckedChain()
        for block, _ in common.history:
            branch.accept(block.raw)
        for _ in range(4):
            branch.accept(branch.template(extra=name).build())
        folder = folder_of(branch, tmp_path / name.decode() / "blocks")
        with TaskRunner() as runner:
            form = ExportForm(TABLES, True, 10)
            export_chain(BlockFolder(folder.path, REGTEST), tmp_path / name.decode() / "out", form, runner=runner)
    chain = TableChain(tmp_path / "one/out", REGTEST)
    for path in (tmp_path / "other/out").rglob("*0000000010-0000000019.*"):
        shutil.copy(path, tmp_path / "one/out" / path.relative_to(tmp_path / "other/out"))
    with TaskRunner() as runner:
        failure = only_failure(verify_chain(TableWork(chain), runner))
    assert failure.reason == "unreadable" and "not the one that was there before" in failure.detail


@pytest.mark.parametrize("change", ["less", "more", "no parquet", "gone"])
def test_an_export_that_is_damaged_is_told(exported: Path, tmp_path: Path, change: str) -> None:
    shutil.copytree(exported, tmp_path / "out")
    path = min((tmp_path / "out/blocks").iterdir())
    if change == "gone":
        path.unlink()
    elif change == "no parquet":
        path.write_bytes(b"PAR1" + path.read_bytes()[5:])
    else:
        table = pq.read_table(path)
        pq.write_table(table.slice(0, 50) if change == "less" else pa.concat_tables([table, table.slice(99)]), path)
    with pytest.raises(DataError):
        TableChain(tmp_path / "out", REGTEST)


def test_relative_locks_hold_in_parts_too(tmp_path: Path) -> None:
    """BIP68 by time needs the median time of a block of another part."""
    chain = UncheckedChain(blocks=110)
    locked = spend(chain.coinbases[5], value=5, sequences=[0x00400000 | 200])  # 200 * 512 s after it was made
    chain.force(chain.template(locked).build())
    folder = folder_of(chain, tmp_path / "blocks")
    failure = only_failure(verified(folder.path, task_bytes=1))
    assert (failure.height, failure.reason, failure.txid) == (111, "bad-txns-nonfinal", to_display(locked.txid))
    good = UncheckedChain(blocks=110)
    good.accept(good.template(spend(good.coinbases[5], value=5, sequences=[0x00400000 | 100])).build())
    assert verified(folder_of(good, tmp_path / "good").path, task_bytes=1).is_good
