"""The user's own transactions on their way into the mempool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from btcnode.mempool.feerate import fee_at
from btcnode.mempool.rejection import PackageResult, Rejection, TxResult
from btcnode.primitives.tx import Tx
from btcnode.protocol.protocol import Protocol
from btcnode.services.transactions import Transactions

FEW_OUTPUTS = 1_000  # whose coins are looked for at once: a few milliseconds
_NO_PRIVATE_NETWORK = (
    "-privatebroadcast is enabled, but none of the Tor or I2P networks is reachable. Maybe the location of the Tor"
    " proxy couldn't be retrieved from the Tor daemon at startup. Check whether the Tor daemon is running and that"
    " -torcontrol, -torpassword and -i2psam are configured properly."
)


class SubmitError(Exception):
    """A transaction was not taken.

    ``kind`` is already-confirmed, max-fee-exceeded, missing-inputs, rejected or (private broadcast) unreachable.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class Submissions:
    """Transactions from the user: judged, taken in and announced, or sent privately."""

    def __init__(self, transactions: Transactions, protocol: Protocol, *, private: bool = False) -> None:
        """``private``: what the user hands in is broadcast privately."""
        self._transactions = transactions
        self._protocol = protocol
        self._private = private

    def has_dust(self, tx: Tx) -> bool:
        """Whether policy minds an output of the transaction for being too small."""
        admission = self._transactions.admission
        return admission.options.require_standard and bool(admission.checks.outputs.dust(tx.txouts))

    async def submit(self, tx: Tx, max_feerate: int | None) -> None:
        """Take a transaction in and announce it, or send it privately; raises SubmitError.

        ``max_feerate`` in sat/kvB.
        """
        transactions, pool = self._transactions, self._transactions.pool
        if self._private and not {"onion", "i2p"} & set(self._protocol.reachable_networks):
            raise SubmitError("unreachable", _NO_PRIVATE_NETWORK)
        known = pool.get(tx.txid)
        if known is None and await self._is_confirmed(tx):
            raise SubmitError("already-confirmed", "Transaction outputs already in utxo set")
        if known is None:
            if max_feerate or self._private:
                judged = await transactions.accept(tx, test=True, urgent=True)
                if isinstance(judged, Rejection):
                    raise _refused(judged)
                if max_feerate and judged.fee > fee_at(max_feerate, judged.vsize):
                    text = "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"
                    raise SubmitError("max-fee-exceeded", text)
            if self._private:
                transactions.broadcast_privately(tx)
                return
            verdict = await transactions.accept(tx, urgent=True)
            if isinstance(verdict, Rejection):
                known = pool.get(tx.txid)
                if known is None:
                    raise _refused(verdict)
            else:
                pool.add_unbroadcast(tx.txid)
        elif self._private:
            transactions.broadcast_privately(tx)
            return
        entry = pool.get(tx.txid)
        if entry is not None:
            transactions.announce(entry)

    async def _is_confirmed(self, tx: Tx) -> bool:
        """Whether there is a coin of the transaction's; of many outputs beside the loop."""
        coins = self._transactions.admission.checks.coins

        def has_coin() -> bool:
            outputs = [tx.txid + n.to_bytes(4, "little") for n in range(len(tx.txouts))]
            return any(coin is not None for coin in coins.get_many(outputs))

        return await asyncio.to_thread(has_coin) if len(tx.txouts) > FEW_OUTPUTS else has_coin()

    async def submit_package(self, txs: Sequence[Tx], max_feerate: int | None) -> PackageResult:
        """Take in a child with its parents, and announce what came in."""
        result = await self._transactions.submit_package(txs, max_feerate)
        for tx in txs:
            entry = self._transactions.pool.get(tx.txid)
            if entry is not None:
                self._transactions.announce(entry)
        return result

    async def at_rest(self) -> None:
        """Wait until the mempool is that of the tip, so that a block may be made of it."""
        await self._transactions.at_rest()

    async def test_accept(self, txs: Sequence[Tx]) -> PackageResult:
        """Judge only."""
        return await self._transactions.test_accept(txs)


def _refused(verdict: Rejection) -> SubmitError:
    if verdict.result is TxResult.MISSING_INPUTS:
        return SubmitError("missing-inputs", "bad-txns-inputs-missingorspent")
    return SubmitError("rejected", verdict.text)
