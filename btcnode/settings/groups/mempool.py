"""Options of unconfirmed transactions: what is taken and relayed, how many, how blocks are put together of them."""

from __future__ import annotations

from btcnode.record import record
from btcnode.settings.declaration import option, switch
from btcnode.settings.kinds import KB, MB, Choice, Feerate, Number

MEMPOOL_EVICTIONS = ("density", "lruk-fee")
BLOCK_RELAY_FORMS = ("auto", "compact", "xthin", "plain")
HOUR = 3600


_TOO_MANY = "limitclustercount must be less than or equal to 64"


@record(kw_only=True)
class MempoolSettings:
    """Feerates are satoshi per 1,000 virtual bytes."""

    blocksonly: bool = switch(
        "blocksonly", "Take no transactions from peers.", False, usual="off, but on with -utreexo-csn"
    )
    block_relay: str = option(
        "block-relay",
        "Form in which new blocks are asked for: auto, compact, xthin, or plain for whole blocks.",
        Choice(BLOCK_RELAY_FORMS),
        "auto",
        metavar="FORM",
    )
    blockreconstructionextratxn: int = option(
        "blockreconstructionextratxn",
        "Transactions beside the mempool's kept for compact blocks.",
        Number(0, 100_000, clamp=True),
        "100",
    )
    persistmempool: bool = switch(
        "persistmempool", "Save the mempool at exit and load it at start.", True, usual="on, but off with -utreexo-csn"
    )
    persistmempoolv1: bool = switch("persistmempoolv1", "Save it without a key, for older readers.", False)
    maxmempool_bytes: int = option(
        "maxmempool",
        "Memory of the mempool in MB (10**6): 0, or room for 40 of the largest clusters, which is 5.",
        Number(0, 1 << 24, unit=MB, too_low="-maxmempool must be at least 5 MB"),
        "300",
        usual="300; 5 with -blocksonly",
        metavar="MB",
    )
    mempoolexpiry_s: int = option(
        "mempoolexpiry", "Hours after which a transaction is dropped.", Number(0, unit=HOUR, clamp=True), "336"
    )
    mempool_eviction: str = option(
        "mempool-eviction",
        "Who goes from a full mempool: density (lowest feerate first) or lruk-fee (age of interest weighed with it).",
        Choice(MEMPOOL_EVICTIONS),
        "density",
        metavar="WAY",
    )
    minrelaytxfee: int | None = option(
        "minrelaytxfee",
        "Least feerate to take and relay, BTC/kvB.",
        Feerate(),
        usual="0.000001, or -incrementalrelayfee where that is more",
    )
    incrementalrelayfee: int = option(
        "incrementalrelayfee", "What a replacement pays for its own relay, BTC/kvB.", Feerate(), "0.000001"
    )
    dustrelayfee: int = option("dustrelayfee", "Feerate that defines dust, BTC/kvB.", Feerate(), "0.00003")
    datacarrier: bool = switch("datacarrier", "Relay transactions with OP_RETURN outputs.", True)
    datacarriersize: int = option(
        "datacarriersize", "Bytes of all OP_RETURN scripts of a transaction.", Number(0), "100000"
    )
    permitbaremultisig: bool = switch("permitbaremultisig", "Relay bare multisig outputs.", True)
    acceptnonstdtxn: bool = switch("acceptnonstdtxn", "Take non-standard transactions (test networks).", False)
    acceptstalefeeestimates: bool = switch(
        "acceptstalefeeestimates", "Use fee estimates of an earlier run however old they are (regtest).", False
    )
    bytespersigop: int = option("bytespersigop", "Virtual bytes for each sigop.", Number(0, clamp=True), "20")
    limitclustercount: int = option(
        "limitclustercount",
        "Transactions that may depend on each other.",
        Number(0, 64, too_low=_TOO_MANY, too_high=_TOO_MANY),
        "64",
    )
    limitclustersize_vbytes: int = option(
        "limitclustersize", "Their size together, kvB.", Number(0, unit=KB, clamp=True), "101", metavar="KVB"
    )

    @property
    def min_relay_feerate(self) -> int:
        """``-minrelaytxfee``, which follows the incremental feerate upwards unless it was chosen."""
        if self.minrelaytxfee is not None:
            return self.minrelaytxfee
        return max(DEFAULT_MIN_RELAY_FEERATE, self.incrementalrelayfee)


DEFAULT_MIN_RELAY_FEERATE = 100  # sat/kvB
