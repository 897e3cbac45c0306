"""The mempool's and the miner's options among the node's, and the objects that they make."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from btcnode.mempool.eviction import DensityEviction, EvictionPolicy, LruKFeeEviction
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.pool import Mempool
from btcnode.mining.selection import BlockLimits, Selection
from btcnode.mining.templates import TemplateMaker
from btcnode.primitives.amounts import COIN
from btcnode.primitives.hashes import to_display

if TYPE_CHECKING:
    from btcnode.descriptors.provider import SigningProvider
    from btcnode.networks.parameters import NetworkParams
    from btcnode.settings.groups.mempool import MempoolSettings
    from btcnode.settings.groups.mining import MiningSettings

log = logging.getLogger("btcnode.mining")


def mempool_options(settings: MempoolSettings) -> MempoolOptions:
    """What the operator has decided about the mempool."""
    return MempoolOptions(
        max_bytes=settings.maxmempool_bytes,
        expiry_s=settings.mempoolexpiry_s,
        min_relay_feerate=settings.min_relay_feerate,
        incremental_feerate=settings.incrementalrelayfee,
        dust_feerate=settings.dustrelayfee,
        max_datacarrier_bytes=settings.datacarriersize if settings.datacarrier else None,
        permit_bare_multisig=settings.permitbaremultisig,
        require_standard=not settings.acceptnonstdtxn,
        bytes_per_sigop=settings.bytespersigop,
        cluster_count=settings.limitclustercount,
        cluster_vbytes=settings.limitclustersize_vbytes,
    )


def make_pool(settings: MempoolSettings) -> Mempool:
    """An empty mempool."""
    eviction: EvictionPolicy = LruKFeeEviction() if settings.mempool_eviction == "lruk-fee" else DensityEviction()
    return Mempool(mempool_options(settings), eviction=eviction)


def make_template_maker(settings: MiningSettings, params: NetworkParams) -> TemplateMaker:
    """What chooses transactions for blocks, and signs those of a signet."""
    limits = BlockLimits(
        max_weight=max(settings.blockmaxweight, settings.blockreservedweight),
        reserved_weight=settings.blockreservedweight,
        min_feerate=settings.blockmintxfee,
    )
    version = settings.blockversion if params.mineable else None
    on_chosen = _log_feerates if settings.printpriority else _log_nothing
    return TemplateMaker(params, limits, version=version, keys=_signet_keys(settings), on_chosen=on_chosen)


def _signet_keys(settings: MiningSettings) -> SigningProvider | None:
    """What signs blocks of a signet of one's own; None without a key."""
    if not settings.signetkey:
        return None
    from btcnode.descriptors.provider import Secret, SigningProvider  # which hardly any node needs at its start

    keys = SigningProvider()
    for key in settings.signetkey:
        secret = Secret(*key)
        keys.add_pubkey(secret.pubkey)
        keys.add_secret(secret)
    return keys


def _log_nothing(_: Selection) -> None:
    """Without ``-printpriority``."""


def _log_feerates(chosen: Selection) -> None:
    """Core's lines of ``-printpriority``."""
    for entry in chosen.entries:
        whole, rest = divmod(entry.modified_fee * 1000 // entry.vsize, COIN)
        log.info("fee rate %d.%08d BTC/kvB txid %s", whole, rest, to_display(entry.txid))
