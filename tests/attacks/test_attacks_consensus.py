"""What nodes have died of: the rows about scripts, workers and disks that no other test carries in its name."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.errors import RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import Tx
from btcnode.script.errors import ScriptError
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import tapleaf_hash
from btcnode.script.signatures import pubkey_create, taproot_tweak_pubkey, xonly
from btcnode.script.verify import verify_transaction
from btcnode.sync.checker import PooledChecker
from btcnode.sync.worker_pool import WorkerPool
from btcnode.testing.blocks import BlockTemplate
from btcnode.testing.templates import Spendable, seckey, signed_tx
from btcnode.wire.messages import Ping, Pong
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer, ScriptedPeer
from tests.lib.process import NodeProcess, wait_until

PARAMS = params_for("regtest")
NOW = 2_000_000_000


# -- witness sizes ---------------------------------------------------------------------------------------------------


def tapscript_spend(script: bytes, items: list[bytes]) -> tuple[Tx, list[bytes]]:
    """A transaction that spends a single-leaf taproot output by ``script``, and what it spends."""
    internal = xonly(seckey(2))
    output, parity = taproot_tweak_pubkey(internal, tapleaf_hash(0xC0, script))
    stack = [*items, script, bytes((0xC0 | parity,)) + internal]
    tx = Tx(2, [b"\x07" * 32 + bytes(4)], [b""], [0xFFFFFFFF], [make_txout(0, b"\x51")], [stack])
    return tx, [make_txout(1, b"\x51\x20" + output)]


DROP, TRUE, NOP = b"\x75", b"\x51", b"\x61"
WITNESSES = {
    "script of 11,001 bytes": (NOP * 11_000 + TRUE, []),
    "script of 400,000 bytes": (NOP * 400_000 + TRUE, []),
    "element of 520 bytes": (DROP + TRUE, [bytes(520)]),
    "element of 521 bytes": (DROP + TRUE, [bytes(521)]),
    "1,000 elements": (DROP * 1000 + TRUE, [b""] * 1000),
    "1,001 elements": (DROP * 1001 + TRUE, [b""] * 1001),
    "OP_SUCCESS before an element of 100,000 bytes": (b"\x50", [bytes(100_000)]),
}


@pytest.mark.parametrize("name", WITNESSES)
def test_cve_2022_44797_witness_size_limits(name: str) -> None:
    """Sizes that other implementations had limits of their own for: only consensus limits count."""
    shadow = pytest.importorskip("btcnode.chain.shadow")
    pytest.importorskip("pbk", reason="py-bitcoinkernel is not installed")
    script, items = WITNESSES[name]
    tx, spent = tapscript_spend(script, items)
    assert Tx.parse(tx.raw).witnesses == tx.witnesses
    failure = verify_transaction(tx, spent, MANDATORY_VERIFY_FLAGS)
    kernel = shadow.KernelEngine().load(tx.raw, spent).verify(0, MANDATORY_VERIFY_FLAGS)
    assert (failure is None) == kernel
    expected = {"element of 521 bytes": ScriptError.PUSH_SIZE, "1,001 elements": ScriptError.STACK_SIZE}
    assert (failure.error if failure else None) == expected.get(name)


def test_cve_2022_44797_half_a_million_witness_items(vectors: Path) -> None:
    raw = bytes.fromhex((vectors / "rust-bitcoin/huge_witness.hex").read_text().strip())
    tx = Tx.parse(raw)
    assert len(tx.witnesses[0]) == 500_003
    assert tx.txid[::-1].hex() == "73be398c4bdc43709db7398106609eea2a7841aaf3a4fa2000dc18184faa2a7e"


# -- blocks that take long -------------------------------------------------------------------------------------------


def separators(generator: ChainGenerator) -> tuple[bytes, list[Tx]]:
    """BIP54's kind: every check hashes a megabyte once more, as a separator changes the script each time."""
    sig = bytes.fromhex("3006020101020101") + b"\x01"
    check = b"\xab" + push_data(sig) + push_data(pubkey_create(seckey(1))) + b"\xac\x75"
    how = Spendable("separators", check * 66 + TRUE, lambda ctx, index: (b"", []))
    source = generator.take()
    each = source.value // 40
    funding = signed_tx(
        [(source.outpoint, source.txout, source.how)], [make_txout(each, how.script_pubkey) for _ in range(30)]
    )
    prevouts = [funding.txid + n.to_bytes(4, "little") for n in range(30)]
    spend = Tx(2, prevouts, [b""] * 30, [0xFFFFFFFF] * 30, [make_txout(0, bytes(9_990))] * 98)
    return generator.block([funding]), [spend]


def many_inputs(generator: ChainGenerator) -> tuple[bytes, list[Tx]]:
    """The classic: thousands of legacy inputs, each hashing all the others."""
    source = generator.take()
    script = push_data(pubkey_create(seckey(3))) + b"\xac\x91"  # CHECKSIG NOT: an empty signature is right
    sig = push_data(bytes.fromhex("3006020101020101") + b"\x01")
    count = 4_000
    funding = signed_tx(
        [(source.outpoint, source.txout, source.how)], [make_txout(source.value // 5000, script) for _ in range(count)]
    )
    prevouts = [funding.txid + n.to_bytes(4, "little") for n in range(count)]
    spend = Tx(2, prevouts, [sig] * count, [0xFFFFFFFF] * count, [make_txout(0, TRUE)])
    return generator.block([funding]), [spend]


@pytest.mark.parametrize(
    "shape",
    [separators, many_inputs],
    ids=["cve_2025_46598_bip54_worst_block", "cve_2013_2292_quadratic_sighash"],
)
def test_peers_and_rpc_are_answered_during(
    tmp_path: Path, shape: Callable[[ChainGenerator], tuple[bytes, list[Tx]]]
) -> None:
    generator = ChainGenerator(PARAMS, mix={"p2wpkh": 1})
    chain = list(generator.spread(3))
    funding, txs = shape(generator)
    worst = generator.block(txs)
    with NodeProcess(tmp_path, "regtest", "--par", "1") as node:
        node.start()
        for raw in [*chain, funding]:
            assert node.rpc("submitblock", raw.hex()) is None
        peer = ScriptedPeer.connect("127.0.0.1", node.port, PARAMS)
        peer.handshake()
        answers: list[object] = []
        submitting = threading.Thread(target=lambda: answers.append(node.rpc("submitblock", worst.hex())))
        begun = time.monotonic()
        submitting.start()
        asked, slowest = 0, 0.0
        while submitting.is_alive() or not asked:
            started = time.monotonic()
            node.rpc("getblockcount")
            peer.send(Ping(asked))
            pong = peer.expect(Pong)
            assert isinstance(pong, Pong)
            assert pong.nonce == asked
            slowest = max(slowest, time.monotonic() - started)
            asked += 1
        submitting.join()
        took = time.monotonic() - begun
        assert answers == [None]
        assert node.height() == len(chain) + 2
        # what slows all down on a busy machine makes the block take longer too
        assert slowest < max(5.0, took / 2), "somebody waited for the whole block"
        assert node.stop() == 0


# -- workers ---------------------------------------------------------------------------------------------------------


def test_cve_2024_52911_invalid_block_while_workers_verify(tmp_path: Path) -> None:
    """The checks of a block that is refused, and of what was connected on top of it, leave nothing behind."""
    generator = ChainGenerator(PARAMS, mix={"p2wpkh": 1})
    base = list(generator.spread(1500))
    parent, height, when = generator.tip_hash, generator.height + 1, generator.time + 600
    block = parse_block(generator.busy(300))
    txs = [block.tx(i) for i in range(1, block.n_tx)]
    last = txs[-1]
    stacks = [list(stack) for stack in last.witnesses]
    stacks[0][0] = stacks[0][0][:20] + bytes([stacks[0][0][20] ^ 1]) + stacks[0][0][21:]
    forged = [*txs[:-1], Tx(last.version, last.prevouts, last.script_sigs, last.sequences, last.txouts, stacks)]
    fees = 0
    bad = BlockTemplate(PARAMS, parent, height, when, PARAMS.pow_limit_bits, txs=forged, fees=fees).build()
    after = BlockTemplate(PARAMS, header_hash(bad[:HEADER_SIZE]), height + 1, when + 600, PARAMS.pow_limit_bits).build()
    good = BlockTemplate(PARAMS, parent, height, when + 1, PARAMS.pow_limit_bits, txs=txs).build()

    pool = WorkerPool(2, PARAMS)
    try:
        state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS), checker=PooledChecker(pool))
        for raw in base:
            state.process_block(raw, NOW)
        state.flush()
        before = state.store.coins.utxo_stats().hash
        for raw in (bad, after):  # both headers known, so that the second is connected ahead of the verdict
            state.tree.add(raw[:HEADER_SIZE], NOW)
        step = state.plan_store(after, NOW, requested=True)
        assert step is not None
        state.run(step)
        with pytest.raises(RuleViolation, match="block-script-verify-flag-failed"):
            state.process_block(bad, NOW)
        assert state.tree.hash(state.tip) == parent
        state.flush()
        assert state.store.coins.utxo_stats().hash == before
        state.process_block(good, NOW)
        assert state.tree.hash(state.tip) == header_hash(good[:HEADER_SIZE])
        state.close()
    finally:
        pool.close()


# -- power and disk --------------------------------------------------------------------------------------------------


def test_power_loss_torn_tails_of_block_files(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    blocks = [*generator.spread(100), *(generator.busy(20) for _ in range(4))]
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS))
    for raw in blocks[:-2]:
        state.process_block(raw, NOW)
    state.flush()
    for raw in blocks[-2:]:
        state.process_block(raw, NOW)
    state.store.close()
    for name in ("blk00000.dat", "rev00000.dat"):  # half of the last write reached the disk, then garbage
        path = tmp_path / "blocks" / name
        path.write_bytes(path.read_bytes()[:-37] + b"\xfa\xbf\xb5\xda torn")
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS))
    assert state.active.height == len(blocks) - 2
    for raw in blocks[-2:]:
        state.process_block(raw, NOW)
    state.close()
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS))
    assert state.read_block(state.tip) == blocks[-1]
    state.close()


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit from util-linux")
def test_disk_full_stops_clearly_and_resumes_when_there_is_room(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(3000), *(generator.busy(700) for _ in range(12))]
    size = sum(map(len, chain))
    assert size > 2_500_000
    expected = Chainstate.open(PARAMS, ChainStore.open(tmp_path / "expected", PARAMS))
    for raw in chain:
        expected.process_block(raw, NOW)
    expected.flush()
    coins = expected.store.coins.utxo_stats().hash
    assert coins is not None
    expected.close()
    directory = tmp_path / "node"
    directory.mkdir()
    with (
        ChainServer.of_blocks(PARAMS, chain) as server,
        NodeProcess(directory, "regtest", "--connect", server.address, listen=False) as node,
    ):
        node.prefix = ("prlimit", "--fsize=1500000")
        node.start()
        assert node.process is not None
        process = node.process
        wait_until(lambda: process.poll() is not None, 60, "the node to stop")
        assert process.returncode == 1
        output = node.output()
        assert "Traceback" not in output
        assert "Error:" in output
        assert "room" in output or "full" in output or "space" in output or "too large" in output.lower()
        node.prefix = ()
        node.start()
        node.wait_height(len(chain))
        assert node.rpc("gettxoutsetinfo")["hash_serialized_3"] == coins[::-1].hex()
        assert node.stop() == 0
