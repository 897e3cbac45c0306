"""Somebody else's coins in a test: a key of python-bitcointx's, its address, and transactions that it signs.

A test goes on with the library's own objects: it builds a ``CMutableTransaction`` as it likes, has it signed here,
looks at its parts, breaks it. Keys are for tests alone: anybody can work them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from bitcointx.core import (
    CBitcoinMutableTransaction,
    CBitcoinMutableTxIn,
    CBitcoinMutableTxOut,
    CBitcoinOutPoint,
    CBitcoinTransaction,
    CBitcoinTxInWitness,
    CBitcoinTxOut,
    CBitcoinTxWitness,
    lx,
)
from bitcointx.core.script import SIGHASH_ALL, SIGVERSION_WITNESS_V0, CBitcoinScript, CScriptWitness
from bitcointx.wallet import CBitcoinRegtestAddress, CBitcoinRegtestKey, P2WPKHBitcoinRegtestAddress

from btcnode.consensus.transactions import COINBASE_MATURITY
from btcnode.primitives.amounts import COIN
from btcnode.testing.bitcointx_library import use_our_library
from btcnode.testing.regtest import DEFAULT_FEE, MIN_CHANGE, RegtestNode, satoshi_of

SEQUENCE = 0xFFFFFFFD  # replaceable, and lock times count

use_our_library()


class HeldCoin(NamedTuple):
    """A coin that a holder can spend."""

    outpoint: CBitcoinOutPoint
    txout: CBitcoinTxOut


class Holder:
    """Who has one key on regtest: ``key``, and ``address``, which is P2WPKH."""

    def __init__(self, node: RegtestNode, name: str) -> None:
        """The same ``name`` has the same key."""
        self._node = node
        self.key = CBitcoinRegtestKey.from_secret_bytes(sha256(f"btcnode test holder {name}".encode()).digest())
        self.address = P2WPKHBitcoinRegtestAddress.from_pubkey(self.key.pub)

    def coins(self) -> list[HeldCoin]:
        """Confirmed coins that may be in the next block and that nothing in the mempool spends; the largest first."""
        rpc = self._node.rpc
        found: Any = rpc.scantxoutset("start", [f"addr({self.address})"])
        height = rpc.getblockcount()
        ripe = [
            coin
            for coin in found["unspents"]
            if not coin["coinbase"] or height + 1 - coin["height"] >= COINBASE_MATURITY
        ]
        places = [{"txid": coin["txid"], "vout": coin["vout"]} for coin in ripe]
        spent = [place.get("spendingtxid") for place in rpc.gettxspendingprevout(places)] if places else []
        script = self.address.to_scriptPubKey()
        held = [
            HeldCoin(
                CBitcoinOutPoint(lx(coin["txid"]), coin["vout"]), CBitcoinTxOut(int(coin["amount"] * COIN), script)
            )
            for coin, spender in zip(ripe, spent, strict=True)
            if spender is None
        ]
        return sorted(held, key=lambda coin: (-coin.txout.nValue, bytes(coin.outpoint.hash), coin.outpoint.n))

    def sign(self, tx: CBitcoinMutableTransaction, spent: Sequence[CBitcoinTxOut]) -> CBitcoinTransaction:
        """The transaction with a witness for each input, all of which spend this holder's coins ``spent``.

        Raises ValueError when there are not as many coins as inputs.
        """
        if len(spent) != len(tx.vin):
            raise ValueError(f"{len(tx.vin)} inputs but {len(spent)} coins")
        code = CBitcoinScript(b"\x76\xa9\x14" + bytes(self.address) + b"\x88\xac")
        witnesses = []
        for index, txout in enumerate(spent):
            digest = code.sighash(tx, index, SIGHASH_ALL, amount=txout.nValue, sigversion=SIGVERSION_WITNESS_V0)
            items = [self.key.sign(digest) + bytes([SIGHASH_ALL]), bytes(self.key.pub)]
            witnesses.append(CBitcoinTxInWitness(CScriptWitness(items)))
        tx.wit = CBitcoinTxWitness(witnesses).to_mutable()
        return CBitcoinTransaction.from_tx(tx)

    def pay(
        self, address: CBitcoinRegtestAddress | str, amount: Decimal | str | float, *, fee: int = DEFAULT_FEE
    ) -> CBitcoinTransaction:
        """Send ``amount`` BTC to an address; the transaction, which is in the mempool. ``fee`` in satoshi.

        Raises ValueError when the coins do not suffice and for what is no amount, python-bitcointx's CCoinAddressError
        for what is no address of regtest, RpcError when the node refuses.
        """
        target = CBitcoinRegtestAddress(str(address)).to_scriptPubKey()
        value = satoshi_of(amount)
        chosen: list[HeldCoin] = []
        coins = iter(self.coins())
        while sum(coin.txout.nValue for coin in chosen) < value + fee:
            coin = next(coins, None)
            if coin is None:
                raise ValueError(f"the coins of {self.address} do not suffice for {amount} BTC and the fee")
            chosen.append(coin)
        outputs = [CBitcoinMutableTxOut(value, target)]
        change = sum(coin.txout.nValue for coin in chosen) - value - fee
        if change >= MIN_CHANGE:
            outputs.append(CBitcoinMutableTxOut(change, self.address.to_scriptPubKey()))
        inputs = [CBitcoinMutableTxIn(coin.outpoint, nSequence=SEQUENCE) for coin in chosen]
        tx = self.sign(CBitcoinMutableTransaction(inputs, outputs), [coin.txout for coin in chosen])
        self._node.rpc.sendrawtransaction(tx.serialize().hex(), 0)
        return tx
