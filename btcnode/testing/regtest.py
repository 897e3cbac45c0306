"""A regtest node in a thread of its own, with mined coins and a helper that pays: what the pytest fixture gives."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar

from btcnode.consensus.transactions import COINBASE_MATURITY
from btcnode.embed.node import Node
from btcnode.errors import BtcnodeError, ConfigError
from btcnode.primitives.addresses import address_for_script, script_for_address
from btcnode.primitives.amounts import AmountError, parse_amount
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_value, make_txout, txout_script, txout_value
from btcnode.record import record
from btcnode.rpc.methods.mining import DEFAULT_MAX_TRIES, generate_blocks
from btcnode.rpc.typed import SyncNodeRpc
from btcnode.script.scriptparse import push_data
from btcnode.services.chain import CoinScan
from btcnode.testing.templates import p2wpkh, signed_tx

T = TypeVar("T")

SPARE_COINS = 3  # mature coins of a new node with a purse
KEY_SEED = 21
MIN_CHANGE = 1000  # satoshi
DEFAULT_FEE = 2000  # satoshi: above the relay minimum for what ``pay`` makes
MOST_DIGITS = 20  # of an amount in BTC
CALL_TIMEOUT = 60.0  # seconds


@record
class _Coin:
    outpoint: bytes
    value: int  # satoshi
    spendable_at: int  # height of the first block that may spend it


class RegtestNode:
    """A regtest node in a thread of its own, with a purse of mined coins. ``with`` closes it at its end.

    ``rpc`` are the RPC methods as plain functions (they raise RpcError), ``wallet()`` those about a wallet,
    ``address`` is the purse's, ``node`` the ``btcnode.Node``. The purse is whatever the chain and the mempool say
    that its key can spend: also after a reorganisation, and also coins that others have sent to ``address``.
    """

    node: Node

    def __init__(self, **options: Any) -> None:
        """``options`` are those of ``btcnode.Node`` on regtest. Raises BtcnodeError when the node cannot start."""
        if "network" in options:
            raise ConfigError("a RegtestNode is always on regtest: there is no option network")
        self._purse = p2wpkh(KEY_SEED)
        self._scanned: tuple[int, list[_Coin]] = -1, []  # tip, and the purse's coins at it
        self._paying = threading.Lock()
        self._leaving: Future[None] = Future()
        self._error: BaseException | None = None
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._main, args=(options, started), name="btcnode-regtest", daemon=True)
        self._thread.start()
        try:
            self._loop = started.result()
        except BaseException:
            self._end()
            raise
        self.rpc = SyncNodeRpc(lambda name, *params, **named: self.run(self._call(name, params, named)))
        self._wallets: dict[str, SyncNodeRpc] = {}
        self.address = str(address_for_script(self._purse.script_pubkey, self.node.settings.params))

    def _main(self, options: dict[str, Any], started: Future[asyncio.AbstractEventLoop]) -> None:
        try:
            asyncio.run(self._live(options, started))
        except BaseException as error:
            if started.done():
                self._error = error
            else:
                started.set_exception(error)

    async def _live(self, options: dict[str, Any], started: Future[asyncio.AbstractEventLoop]) -> None:
        self.node = Node(network="regtest", **options)
        async with self.node:
            started.set_result(asyncio.get_running_loop())
            await asyncio.wrap_future(self._leaving)

    async def _call(self, name: str, params: tuple[Any, ...], named: dict[str, Any], wallet: str | None = None) -> Any:
        methods = self.node.rpc if wallet is None else self.node.wallet(wallet)
        return await getattr(methods, name)(*params, **named)

    def wallet(self, name: str = "test") -> SyncNodeRpc:
        """The RPC methods about a wallet of the node's own, not the purse: it is empty when it is asked for first.

        A wallet that is not there yet is made, and one that is not loaded is loaded. Raises RpcError where that fails.
        """
        if name not in self._wallets:
            if name not in self.rpc.listwallets():
                known = [entry["name"] for entry in self.rpc.listwalletdir()["wallets"]]
                if name in known:
                    self.rpc.loadwallet(name)
                else:
                    self.rpc.createwallet(name)
            self._wallets[name] = SyncNodeRpc(
                lambda method, *params, **named: self.run(self._call(method, params, named, name))
            )
        return self._wallets[name]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the node's event loop; returns or raises what it does.

        Raises TimeoutError after a minute (the coroutine is cancelled then), BtcnodeError once the node is closed, and
        in the node's own thread, which would wait for itself.
        """
        here = threading.current_thread() is self._thread
        if here or self._leaving.done():
            work.close()
            raise BtcnodeError("this is the node's own thread: await it" if here else "the node is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(CALL_TIMEOUT)
        except BaseException:
            future.cancel()
            raise

    def mine(self, blocks: int = 1, address: str | None = None) -> list[str]:
        """Mine blocks to an address, by default to the purse; returns their hashes, oldest first.

        No block is like another one, also on the same parent in the same second. Raises DecodeError for what is no
        address of regtest, RpcError when a block is not accepted.
        """
        params = self.node.settings.params
        script = self._purse.script_pubkey if address is None else script_for_address(address, params)

        async def mine_one() -> list[str]:
            return await generate_blocks(
                self.node.parts, script, 1, DEFAULT_MAX_TRIES, extra_nonce=lambda: push_data(os.urandom(8))
            )

        return [block_hash for _ in range(blocks) for block_hash in self.run(mine_one())]

    def pay(self, address: str, amount: Decimal | str | float, *, fee: int = DEFAULT_FEE) -> str:
        """Send coins from the purse; returns the txid. ``amount`` in BTC, ``fee`` in satoshi.

        Confirmed coins go first, the largest of them before others. Raises ValueError when the purse is too small and
        for what is no amount of at least a satoshi, TypeError for what is neither text nor a number, DecodeError for
        what is no address of regtest, RpcError when the node refuses.
        """
        wanted = satoshi_of(amount)
        target = script_for_address(address, self.node.settings.params)
        with self._paying:
            height, coins = self.run(self._spendable())
            chosen: list[_Coin] = []
            for coin in coins:
                if sum(coin.value for coin in chosen) >= wanted + fee:
                    break
                if coin.spendable_at <= height + 1:
                    chosen.append(coin)
            change = sum(coin.value for coin in chosen) - wanted - fee
            if change < 0:
                raise ValueError(f"the purse has too few mature coins for {amount} BTC: mine more blocks")
            script = self._purse.script_pubkey
            outputs = [make_txout(wanted, target)]
            if change >= MIN_CHANGE:
                outputs.append(make_txout(change, script))
            tx = signed_tx([(coin.outpoint, make_txout(coin.value, script), self._purse) for coin in chosen], outputs)
            return self.rpc.sendrawtransaction(tx.raw.hex(), 0)

    async def _spendable(self) -> tuple[int, list[_Coin]]:
        """Height of the tip, and the purse's coins that nothing spends: confirmed ones, then those of the mempool."""
        parts, script = self.node.parts, self._purse.script_pubkey
        chain, pool = parts.chain, parts.mempool
        while self._scanned[0] != chain.tip():
            tip, found = await chain.find_coins([script], CoinScan())
            coins = [
                _Coin(
                    outpoint, coin_value(coin), coin_height(coin) + COINBASE_MATURITY if coin_is_coinbase(coin) else 0
                )
                for outpoint, coin in found.coins
            ]
            self._scanned = tip, sorted(coins, key=lambda coin: (-coin.value, coin.spendable_at, coin.outpoint))
        made = [
            _Coin(entry.txid + n.to_bytes(4, "little"), txout_value(txout), 0)
            for entry in pool
            for n, txout in enumerate(entry.tx.txouts)
            if txout_script(txout) == script
        ]
        every = [*self._scanned[1], *made]
        return chain.height(), [coin for coin in every if pool.spender_of(coin.outpoint) is None]

    def fill_purse(self) -> None:
        """Mine 102 blocks: on a new node the next one may spend three coins of the purse, of 50 BTC each."""
        self.mine(SPARE_COINS + COINBASE_MATURITY - 1)

    def close(self) -> None:
        """Stop the node and its thread, once; raises what made the node fail."""
        self._end()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _end(self) -> None:
        if not self._leaving.done():
            self._leaving.set_result(None)
        self._thread.join()

    def __enter__(self) -> RegtestNode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def satoshi_of(amount: Decimal | str | float) -> int:
    """An amount of more than 0 in BTC as satoshi; raises AmountError, ValueError, TypeError."""
    if isinstance(amount, bool) or not isinstance(amount, str | Decimal | int | float):
        raise TypeError(f"an amount is text or a number, not {type(amount).__name__}")
    number = amount if isinstance(amount, str | Decimal) else Decimal(str(amount))
    if isinstance(number, Decimal) and number.adjusted() > MOST_DIGITS:  # written out it may take any memory
        raise AmountError("Amount out of range")
    satoshi = parse_amount(f"{number:f}" if isinstance(number, Decimal) else number)
    if satoshi == 0:
        raise ValueError("there is nothing to pay: the amount is 0")
    return satoshi
