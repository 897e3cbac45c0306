"""What a node's operator decides about its mempool; the defaults are Bitcoin Core 31's."""

from __future__ import annotations

from btcnode.record import record

MAX_STANDARD_TX_WEIGHT = 400_000
MAX_PACKAGE_COUNT = 25
MAX_PACKAGE_WEIGHT = 404_000  # 101 kvB


@record
class MempoolOptions:
    """Limits and feerates (sat/kvB).

    ``max_datacarrier_bytes`` bounds the script_pubkeys of all OP_RETURN outputs of a transaction together, None allows
    no such output. ``require_standard`` may be False on test networks only, which the configuration checks.
    """

    max_bytes: int = 300_000_000  # --maxmempool
    expiry_s: int = 336 * 3600  # --mempoolexpiry
    min_relay_feerate: int = 100  # --minrelaytxfee
    incremental_feerate: int = 100  # --incrementalrelayfee
    dust_feerate: int = 3000  # --dustrelayfee
    max_datacarrier_bytes: int | None = MAX_STANDARD_TX_WEIGHT // 4  # --datacarriersize
    permit_bare_multisig: bool = True
    require_standard: bool = True  # not --acceptnonstdtxn
    bytes_per_sigop: int = 20
    cluster_count: int = 64  # --limitclustercount
    cluster_vbytes: int = 101_000  # --limitclustersize
