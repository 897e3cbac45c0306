"""A regtest node in a thread of its own, with mined coins and a helper that pays: what the pytest fixture gives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any, TypeVar

from btcnode.embed.node import Node
from btcnode.primitives.addresses import address_for_script, script_for_address
from btcnode.primitives.amounts import COIN
from btcnode.primitives.coin import make_txout
from btcnode.testing.templates import p2wpkh, signed_tx

T = TypeVar("T")

MATURITY = 100  # blocks until a block's reward can be spent
SPARE_COINS = 3  # mature coins of a new node with a purse
KEY_SEED = 21
MIN_CHANGE = 1000  # satoshi
DEFAULT_FEE = 2000  # satoshi: above the relay minimum for what ``pay`` makes
CALL_TIMEOUT = 60.0  # seconds


class SyncRpc:
    """RPC methods as plain functions: ``node.rpc.getblockcount()``; raises RpcError."""

    def __init__(self, node: RegtestNode) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*params: Any, **named: Any) -> Any:
            async def work() -> Any:
                return await getattr(self._node.node.rpc, name)(*params, **named)

            return self._node.run(work())

        return call


class RegtestNode:
    """A regtest node in a thread of its own, with a purse of mined coins."""

    def __init__(self, **options: Any) -> None:
        """``options`` are those of ``btcnode.Node``."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="btcnode-regtest", daemon=True)
        self._thread.start()
        self._purse = p2wpkh(KEY_SEED)
        self._coins: list[tuple[bytes, int, int]] = []  # outpoint, value, height of a block's reward (0: spendable)

        async def make() -> Node:
            node = Node(network="regtest", **options)
            await node.start()
            return node

        try:
            self.node = self.run(make())
        except BaseException:
            self._end()
            raise
        self.rpc = SyncRpc(self)
        self.address = str(address_for_script(self._purse.script_pubkey, self.node.settings.params))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the node's event loop; raises what it raises, TimeoutError after a minute."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT)

    def mine(self, blocks: int = 1, address: str | None = None) -> list[str]:
        """Mine blocks to an address, by default to the purse; returns their hashes."""
        hashes: list[str] = self.rpc.generatetoaddress(blocks, address or self.address)
        if address is None:
            first = self.rpc.getblockcount() - len(hashes) + 1
            for height, block_hash in enumerate(hashes, first):
                coinbase = self.rpc.getblock(block_hash, 2)["tx"][0]
                value = int(coinbase["vout"][0]["value"] * COIN)
                self._coins.append((bytes.fromhex(coinbase["txid"])[::-1] + bytes(4), value, height))
        return hashes

    def pay(self, address: str, amount: Decimal | str | float, *, fee: int = DEFAULT_FEE) -> str:
        """Send coins from the purse; returns the txid. ``amount`` in BTC, ``fee`` in satoshi.

        Raises ValueError when the purse is too small, RpcError when the node refuses.
        """
        wanted = int(Decimal(str(amount)) * COIN)
        spendable_to = self.rpc.getblockcount() + 1 - MATURITY
        chosen: list[tuple[bytes, int, int]] = []
        for coin in self._coins:
            if sum(value for _, value, _ in chosen) >= wanted + fee:
                break
            if coin[2] <= spendable_to:
                chosen.append(coin)
        change = sum(value for _, value, _ in chosen) - wanted - fee
        if change < 0:
            raise ValueError(f"the purse has too few mature coins for {amount} BTC: mine more blocks")
        outputs = [make_txout(wanted, script_for_address(address, self.node.settings.params))]
        if change >= MIN_CHANGE:
            outputs.append(make_txout(change, self._purse.script_pubkey))
        script = self._purse.script_pubkey
        tx = signed_tx([(outpoint, make_txout(value, script), self._purse) for outpoint, value, _ in chosen], outputs)
        txid: str = self.rpc.sendrawtransaction(tx.raw.hex(), 0)
        self._coins = [coin for coin in self._coins if coin not in chosen]
        if change >= MIN_CHANGE:
            self._coins.append((tx.txid + (1).to_bytes(4, "little"), change, 0))
        return txid

    def fill_purse(self) -> None:
        """Mine until the purse has three coins that can be spent."""
        self.mine(SPARE_COINS + MATURITY)

    def close(self) -> None:
        """Stop the node and its thread."""
        try:
            self.run(self.node.stop())
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
