"""The mempool's side of the node towards RPC: ``MempoolApi`` over the transaction service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from btcnode.mempool.fee_estimator import FeeEstimator
from btcnode.mempool.feerate import fee_at
from btcnode.mempool.pool import Mempool
from btcnode.mempool.rejection import PackageResult, Rejection, TxResult
from btcnode.mining.templates import TemplateMaker
from btcnode.node.fee_service import FeeService
from btcnode.node.mempool_file import ImportReport, MempoolFile
from btcnode.node.tx_service import TxService
from btcnode.primitives.tx import Tx
from btcnode.protocol.protocol import Protocol
from btcnode.rpc.context import ImportOptions, SubmitError

_NO_PRIVATE_NETWORK = (
    "-privatebroadcast is enabled, but none of the Tor or I2P networks is reachable. Maybe the location of the Tor"
    " proxy couldn't be retrieved from the Tor daemon at startup. Check whether the Tor daemon is running and that"
    " -torcontrol, -torpassword and -i2psam are configured properly."
)


class MempoolService:
    """Unconfirmed transactions for the RPC methods."""

    def __init__(
        self,
        service: TxService,
        file: MempoolFile,
        protocol: Protocol,
        templates: TemplateMaker,
        fees: FeeService | None,
        *,
        private: bool = False,
    ) -> None:
        """``private``: transactions that the user hands in are broadcast privately."""
        self.fee_estimator: FeeEstimator | None = None if fees is None else fees.estimator
        self._fees = fees
        self._service = service
        self.template_maker = templates
        self._file = file
        self._protocol = protocol
        self._private = private

    @property
    def mempool(self) -> Mempool:
        """The pool, for reading."""
        return self._service.pool

    @property
    def mempool_loaded(self) -> bool:
        """Whether the transactions of the last run are in."""
        return self._file.loaded

    def is_unbroadcast(self, txid: bytes) -> bool:
        """Whether nobody has asked for this own transaction yet."""
        return txid in self._protocol.unbroadcast()

    def unbroadcast_count(self) -> int:
        """How many there are of these."""
        return len(self._protocol.unbroadcast())

    def has_dust(self, tx: Tx) -> bool:
        """Whether policy minds an output of the transaction for being too small."""
        admission = self._service.admission
        return admission.options.require_standard and bool(admission.checks.outputs.dust(tx.txouts))

    async def submit_transaction(self, tx: Tx, max_feerate: int | None) -> None:
        """Take a transaction in and announce it, or send it privately; raises SubmitError.

        ``max_feerate`` in sat/kvB.
        """
        service, pool = self._service, self._service.pool
        if self._private and not {"onion", "i2p"} & set(self._protocol.reachable_networks):
            raise SubmitError("unreachable", _NO_PRIVATE_NETWORK)
        outputs = [tx.txid + n.to_bytes(4, "little") for n in range(len(tx.txouts))]
        known = pool.get(tx.txid)
        if known is None and any(coin is not None for coin in service.admission.checks.coins.get_many(outputs)):
            raise SubmitError("already-confirmed", "Transaction outputs already in utxo set")
        if known is None:
            if max_feerate or self._private:
                judged = await service.accept(tx, test=True)
                if isinstance(judged, Rejection):
                    raise _refused(judged)
                if max_feerate and judged.fee > fee_at(max_feerate, judged.vsize):
                    text = "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"
                    raise SubmitError("max-fee-exceeded", text)
            if self._private:
                service.broadcast_privately(tx)
                return
            verdict = await service.accept(tx)
            if isinstance(verdict, Rejection):
                known = pool.get(tx.txid)
                if known is None:
                    raise _refused(verdict)
        elif self._private:
            service.broadcast_privately(tx)
            return
        entry = pool.get(tx.txid)
        if entry is not None:
            service.announce(entry, unbroadcast=known is None)

    async def submit_package(self, txs: Sequence[Tx], max_feerate: int | None) -> PackageResult:
        """Take in a child with its parents, and announce what came in."""
        result = await self._service.submit_package(txs, max_feerate)
        for tx in txs:
            entry = self._service.pool.get(tx.txid)
            if entry is not None:
                self._service.announce(entry)
        return result

    async def test_accept(self, txs: Sequence[Tx]) -> PackageResult:
        """Judge only."""
        return await self._service.test_accept(txs)

    def forward_saving(self, seconds: int) -> None:
        """Let the timer of the fee estimates' file run ahead."""
        if self._fees is not None:
            self._fees.forward(seconds)

    async def save_mempool(self) -> Path:
        """Write ``mempool.dat``; raises StorageError."""
        return await self._file.save(self._protocol.unbroadcast())

    async def import_mempool(self, path: Path, options: ImportOptions) -> ImportReport:
        """Take in the transactions of a file; raises StorageError, DecodeError."""
        return await self._file.import_file(path, options)


def _refused(verdict: Rejection) -> SubmitError:
    if verdict.result is TxResult.MISSING_INPUTS:
        return SubmitError("missing-inputs", "bad-txns-inputs-missingorspent")
    return SubmitError("rejected", verdict.text)
