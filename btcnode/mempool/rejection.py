"""What becomes of a transaction or package that is offered to the mempool."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING

from btcnode.primitives.hashes import Txid, Wtxid
from btcnode.primitives.tx import Tx
from btcnode.record import struct
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from btcnode.mempool.entry import MempoolEntry


class TxResult(StrEnum):
    """Why a transaction is not accepted, and so what to make of it (Core's ``TxValidationResult``)."""

    CONSENSUS = "consensus"  # invalid in any block
    INPUTS_NOT_STANDARD = "inputs-not-standard"  # by what the txid covers
    NOT_STANDARD = "not-standard"
    MISSING_INPUTS = "missing-inputs"
    PREMATURE_SPEND = "premature-spend"  # may be fine in a later block
    WITNESS_MUTATED = "witness-mutated"  # the witness may be somebody else's doing
    WITNESS_STRIPPED = "witness-stripped"  # the witness is missing
    CONFLICT = "conflict"  # already here or in the chain
    MEMPOOL_POLICY = "mempool-policy"
    NO_MEMPOOL = "no-mempool"
    RECONSIDERABLE = "reconsiderable"  # pays too little by itself, a package may help
    UNKNOWN = "unknown"


class Rejection(NamedTuple):
    """A transaction that is not accepted: ``reason`` and ``debug`` are Core's reject reason and debug message.

    ``missing_parents`` are the txids of inputs that nobody knows, for ``TxResult.MISSING_INPUTS``, each once.
    """

    result: TxResult
    reason: str
    debug: str = ""
    missing_parents: tuple[bytes, ...] = ()

    @property
    def text(self) -> str:
        """Reason and debug message, as RPC's ``reject-details`` has them."""
        return f"{self.reason}, {self.debug}" if self.debug else self.reason


class Accepted(NamedTuple):
    """A transaction that is in the mempool, or would be (``test``).

    ``effective_fee`` and ``effective_vsize`` make the feerate that admission was decided by: the transaction's own
    modified fee and size, or those of the package whose wtxids are ``effective_wtxids``. ``replaced`` went for it,
    descendants included.
    """

    entry: MempoolEntry
    effective_fee: int
    effective_vsize: int
    effective_wtxids: tuple[Wtxid, ...]
    replaced: tuple[Tx, ...] = ()

    @property
    def txid(self) -> Txid:
        """The transaction's."""
        return self.entry.txid

    @property
    def vsize(self) -> int:
        """Policy size, vbytes."""
        return self.entry.vsize

    @property
    def fee(self) -> int:
        """Base fee, satoshi."""
        return self.entry.fee


class AlreadyThere(NamedTuple):
    """A transaction of a package that was in the mempool before."""

    vsize: int
    fee: int


class OtherWitness(NamedTuple):
    """A transaction of a package that is in the mempool with another witness."""

    wtxid: Wtxid


TxVerdict = Accepted | Rejection
PackageTxVerdict = Accepted | Rejection | AlreadyThere | OtherWitness


class PackageFault(StrEnum):
    """What is wrong with a package (Core's ``PackageValidationResult``)."""

    NONE = ""
    POLICY = "policy"  # the package as a whole
    TX = "tx"  # a transaction of it


@struct
class PackageResult:
    """The verdict on a package and, by wtxid, on its transactions, as far as they have been judged."""

    fault: PackageFault = PackageFault.NONE
    reason: str = ""
    debug: str = ""
    transactions: dict[Wtxid, PackageTxVerdict] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Reason and debug message, as RPC's ``package-error`` and ``package_msg`` have them."""
        return f"{self.reason}, {self.debug}" if self.debug else self.reason

    def fail(self, fault: PackageFault, reason: str, debug: str = "") -> PackageResult:
        """Record a fault; returns itself."""
        self.fault, self.reason, self.debug = fault, reason, debug
        return self
