"""Typed errors: what can go wrong, and whose fault it is.

Rooms raise these; one place in ``protocol`` turns peers' faults into consequences,
one place in ``rpc`` and one in ``cli`` turn users' faults into codes and lines.
"""

from __future__ import annotations

from enum import Enum


class BtcnodeError(Exception):
    """Base of every error that btcnode raises on purpose."""


class DecodeError(BtcnodeError, ValueError):
    """Bytes that are not what they claim to be (truncated, non-canonical, oversized)."""


class Fault(Enum):
    """Whose fault a broken rule is: Bitcoin Core's ``BlockValidationResult`` and ``TxValidationResult``."""

    CONSENSUS = "consensus"  # invalid for ever, whoever sends it
    MUTATED = "mutated"  # the bytes do not match the header: the hash itself is not condemned
    INVALID_HEADER = "invalid-header"  # proof of work or contextual header rule
    CACHED_INVALID = "cached-invalid"  # known to be invalid already
    INVALID_PREV = "invalid-prev"  # builds on an invalid block
    MISSING_PREV = "missing-prev"  # parent unknown
    TIME_FUTURE = "time-future"  # may become valid later
    LOW_WORK = "low-work"  # too little work to be stored


class RuleViolation(BtcnodeError):
    """A consensus rule is broken.

    ``code`` is Bitcoin Core's reject reason (``bad-txnmrklroot``), ``debug`` its detail for logs,
    ``fault`` tells who is to blame. As text it is Core's "reason, detail".
    """

    def __init__(self, code: str, debug: str = "", fault: Fault = Fault.CONSENSUS) -> None:
        super().__init__(f"{code}, {debug}" if debug else code)
        self.code = code
        self.debug = debug
        self.fault = fault

    def __reduce__(self) -> tuple[type[RuleViolation], tuple[str, str, Fault]]:
        return (RuleViolation, (self.code, self.debug, self.fault))


class ProofError(BtcnodeError):
    """A proof that does not prove what it should, or a Utreexo leaf that is not there to be proven."""


class MissingProofError(ProofError):
    """The Utreexo proof of what a block spends is not here: nobody's fault."""


class ForgedProofError(ProofError):
    """The Utreexo proof that was tried does not lead from a block's coins to the roots: whoever told it is at fault."""

    def __init__(self, message: str, proof: bytes) -> None:
        super().__init__(message)
        self.proof = proof


class StorageError(BtcnodeError):
    """The data directory cannot be used as it is."""


class CorruptionError(StorageError):
    """Stored bytes do not match their checksum, hash or form."""


class LostDatabaseError(CorruptionError):
    """The database is missing or empty, though what belongs to it is there."""


class DisconnectError(CorruptionError):
    """A block of the active chain cannot be disconnected: its data or undo data is gone or damaged."""


class RebuildError(StorageError):
    """Block index and coins are to be built anew from the block files (``--reindex``); ``detail``: what is wrong."""

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail


class FatalError(BtcnodeError):
    """A running node could not go on: its cause says why."""


class DatadirLockedError(StorageError):
    """Another process uses the data directory."""


class DiskFullError(StorageError):
    """No room left on the disk or in the database map."""


class ConfigError(BtcnodeError):
    """An option or a configuration file is wrong."""
