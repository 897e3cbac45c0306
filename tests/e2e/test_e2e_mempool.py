"""Unconfirmed transactions between real nodes: a wallet library signs, nodes relay, mine, reorganise and remember."""

from __future__ import annotations

from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bitcointx import select_chain_params
from bitcointx.core import (
    CMutableTransaction,
    CMutableTxIn,
    CMutableTxOut,
    COutPoint,
    CTransaction,
    CTxInWitness,
    CTxWitness,
    lx,
)
from bitcointx.core.key import CKey
from bitcointx.core.script import SIGHASH_ALL, SIGVERSION_WITNESS_V0, CScript, CScriptWitness
from bitcointx.wallet import CCoinAddress, P2WPKHCoinAddress

from btcnode.primitives.amounts import COIN
from btcnode.testing.bitcointx_library import use_our_library
from tests.lib.process import NodeProcess, RpcFailure, wait_until

use_our_library()
KEY = CKey(b"\x07" * 32)


class Wallet:
    """One key, its address and the coins that were mined to it; everything by python-bitcointx."""

    def __init__(self) -> None:
        select_chain_params("bitcoin/regtest")
        self.address = str(P2WPKHCoinAddress.from_pubkey(KEY.pub))
        self.script = CCoinAddress(self.address).to_scriptPubKey()
        self.coins: list[tuple[str, int, int]] = []

    def learn(self, node: NodeProcess, hashes: list[str]) -> None:
        """Take note of the coinbases of these blocks."""
        for block_hash in hashes:
            coinbase = node.rpc("getblock", block_hash, 2)["tx"][0]
            self.coins.append((coinbase["txid"], 0, round(Decimal(str(coinbase["vout"][0]["value"])) * COIN)))

    def pay(
        self, fee: int, outputs: int = 1, *, coin: tuple[str, int, int] | None = None, sequence: int = 0xFFFFFFFD
    ) -> Any:
        """A signed transaction of one coin."""
        txid, n, value = coin if coin is not None else self.coins.pop(0)
        each = (value - fee) // outputs
        tx = CMutableTransaction(
            [CMutableTxIn(COutPoint(lx(txid), n), nSequence=sequence)],
            [CMutableTxOut(each, self.script) for _ in range(outputs)],
        )
        code = CScript(b"\x76\xa9\x14" + bytes(self.script[2:]) + b"\x88\xac")
        digest = code.sighash(tx, 0, SIGHASH_ALL, amount=value, sigversion=SIGVERSION_WITNESS_V0)
        signature = KEY.sign(digest) + bytes([SIGHASH_ALL])
        tx.wit = CTxWitness([CTxInWitness(CScriptWitness([signature, bytes(KEY.pub)]))])
        return CTransaction.from_tx(tx)


def name(tx: Any) -> str:
    return str(tx.GetTxid()[::-1].hex())


def outputs_of(tx: Any) -> list[tuple[str, int, int]]:
    return [(name(tx), n, int(out.nValue)) for n, out in enumerate(tx.vout)]


def make_node(stack: ExitStack, base: Path, title: str, *options: str) -> NodeProcess:
    directory = base / title
    directory.mkdir(exist_ok=True)
    return stack.enter_context(NodeProcess(directory, "regtest", *options))


def pool_of(node: NodeProcess) -> set[str]:
    return set(node.rpc("getrawmempool"))


def test_a_wallet_pays_and_every_node_hears_of_it(tmp_path: Path) -> None:
    wallet = Wallet()
    with ExitStack() as stack:
        first = make_node(stack, tmp_path, "first").start()
        wallet.learn(first, first.rpc("generatetoaddress", 5, wallet.address))
        first.rpc("generatetoaddress", 100, wallet.address)
        second = make_node(stack, tmp_path, "second", "--connect", first.address).start()
        second.wait_height(105)
        wait_until(lambda: not second.rpc("getblockchaininfo")["initialblockdownload"], 30, "the end of the sync")

        parent = wallet.pay(10_000, 2)
        assert first.rpc("testmempoolaccept", [parent.serialize().hex()])[0]["allowed"] is True
        assert first.rpc("sendrawtransaction", parent.serialize().hex()) == name(parent)
        child = wallet.pay(30_000, coin=outputs_of(parent)[0])
        assert first.rpc("sendrawtransaction", child.serialize().hex()) == name(child)
        entry = first.rpc("getmempoolentry", name(child))
        assert entry["depends"] == [name(parent)] and entry["ancestorcount"] == 2
        assert entry["fees"]["base"] == 0.0003 and entry["vsize"] == child.get_virtual_size()
        wait_until(lambda: pool_of(second) == {name(parent), name(child)}, 60, "the relay")
        cluster = second.rpc("getmempoolcluster", name(parent))
        assert cluster["txcount"] == 2 and cluster["chunks"][0]["txs"] == [name(parent), name(child)]

        replacement = wallet.pay(60_000, coin=outputs_of(parent)[0])
        first.rpc("sendrawtransaction", replacement.serialize().hex())
        wait_until(lambda: pool_of(second) == {name(parent), name(replacement)}, 60, "the replacement")
        with pytest.raises(RpcFailure, match="insufficient fee"):
            first.rpc("sendrawtransaction", child.serialize().hex())
        assert first.rpc("gettxout", name(parent), 0) is None
        assert first.rpc("gettxout", name(parent), 1)["confirmations"] == 0

        # a new process has the same pool
        before = first.rpc("getrawmempool", True)
        first.stop()
        first = make_node(stack, tmp_path, "first").start()
        wait_until(lambda: first.rpc("getmempoolinfo")["loaded"], 30, "the mempool of the last run")
        after = first.rpc("getrawmempool", True)
        assert after.keys() == before.keys()
        assert {txid: entry["time"] for txid, entry in after.items()} == {t: e["time"] for t, e in before.items()}

        second.rpc("addnode", first.address, "onetry")
        wait_until(lambda: second.rpc("getconnectioncount") > 0, 30, "the connection")
        block = second.rpc("generatetoaddress", 1, wallet.address)[0]
        wait_until(lambda: first.rpc("getbestblockhash") == block, 30, "the block")
        assert set(first.rpc("getblock", block)["tx"][1:]) == {name(parent), name(replacement)}
        reward = first.rpc("getblock", block, 2)["tx"][0]["vout"][0]["value"]
        assert round(Decimal(str(reward)) * COIN) == 50 * COIN + 70_000
        for node in (first, second):
            assert pool_of(node) == set() and node.rpc("getmempoolinfo")["size"] == 0
        with pytest.raises(RpcFailure, match="already in utxo set"):
            first.rpc("sendrawtransaction", replacement.serialize().hex())

        # its block leaves the chain: the transactions come back, in order
        first.rpc("invalidateblock", block)
        wait_until(lambda: pool_of(first) == {name(parent), name(replacement)}, 30, "their return")
        assert first.rpc("getrawmempool") == [name(parent), name(replacement)]
        first.rpc("reconsiderblock", block)
        wait_until(lambda: pool_of(first) == set(), 30, "the confirmation")
        for node in (first, second):
            assert node.stop() == 0


def test_a_reorganisation_takes_back_what_it_can(tmp_path: Path) -> None:
    """What spends a coinbase that is gone, or not mature any more, goes with everything behind it."""
    wallet = Wallet()
    with ExitStack() as stack:
        node = make_node(stack, tmp_path, "node").start()
        wallet.learn(node, node.rpc("generatetoaddress", 2, wallet.address))
        node.rpc("generatetoaddress", 99, wallet.address)
        good, young = wallet.pay(10_000), wallet.pay(10_000)
        node.rpc("sendrawtransaction", good.serialize().hex())
        node.rpc("sendrawtransaction", young.serialize().hex())
        heir = wallet.pay(10_000, coin=outputs_of(young)[0])
        node.rpc("sendrawtransaction", heir.serialize().hex())
        assert len(pool_of(node)) == 3
        tip = node.rpc("getbestblockhash")
        node.rpc("invalidateblock", tip)  # the second coinbase could be spent in block 102 at the earliest
        wait_until(lambda: pool_of(node) == {name(good)}, 30, "the end of the reorganisation")
        with pytest.raises(RpcFailure, match="premature-spend-of-coinbase"):
            node.rpc("sendrawtransaction", young.serialize().hex())
        assert node.stop() == 0


def test_packages_and_limits(tmp_path: Path) -> None:
    wallet = Wallet()
    with ExitStack() as stack:
        node = make_node(stack, tmp_path, "node").start()
        wallet.learn(node, node.rpc("generatetoaddress", 4, wallet.address))
        node.rpc("generatetoaddress", 100, wallet.address)
        free = wallet.pay(0)
        with pytest.raises(RpcFailure, match="min relay fee not met, 0 <"):
            node.rpc("sendrawtransaction", free.serialize().hex())
        child = wallet.pay(5_000, coin=outputs_of(free)[0])
        with pytest.raises(RpcFailure, match="bad-txns-inputs-missingorspent"):
            node.rpc("sendrawtransaction", child.serialize().hex())
        answer = node.rpc("submitpackage", [free.serialize().hex(), child.serialize().hex()])
        assert answer["package_msg"] == "success"
        assert pool_of(node) == {name(free), name(child)}
        dear = wallet.pay(40 * COIN)
        with pytest.raises(RpcFailure, match="Fee exceeds maximum"):
            node.rpc("sendrawtransaction", dear.serialize().hex())
        assert node.rpc("testmempoolaccept", [dear.serialize().hex()])[0]["reject-reason"] == "max-fee-exceeded"
        broken = bytearray(wallet.pay(10_000).serialize())
        broken[-40] ^= 1  # in the signature's neighbourhood: the public key
        with pytest.raises(RpcFailure, match="mempool-script-verify-flag-failed"):
            node.rpc("sendrawtransaction", broken.hex())
        with pytest.raises(RpcFailure, match="TX decode failed"):
            node.rpc("sendrawtransaction", "00")
        assert node.rpc("prioritisetransaction", name(child), 0, 1000) is True
        assert node.rpc("getprioritisedtransactions")[name(child)]["modified_fee"] == 6000
        saved = node.rpc("savemempool")["filename"]
        assert Path(saved).is_file()
        assert node.stop() == 0
