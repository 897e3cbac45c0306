"""The mempool's and the miner's options among the node's, and the objects that they make."""

from __future__ import annotations

import logging

from btcnode.config import NodeConfig, parse_feerate
from btcnode.descriptors.provider import Secret, SigningProvider
from btcnode.mempool.eviction import DensityEviction, EvictionPolicy, LruKFeeEviction
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.pool import Mempool
from btcnode.mining.selection import BlockLimits, Selection
from btcnode.mining.templates import TemplateMaker
from btcnode.primitives.addresses import secret_decode
from btcnode.primitives.amounts import COIN
from btcnode.primitives.hashes import to_display

DEFAULT_MIN_RELAY = "0.000001"

log = logging.getLogger("btcnode.mining")


def mempool_options(config: NodeConfig) -> MempoolOptions:
    """What the operator has decided about the mempool.

    The least feerate for relay follows the incremental one upwards unless it was chosen.
    """
    relay = parse_feerate(config.minrelaytxfee, "minrelaytxfee")
    incremental = parse_feerate(config.incrementalrelayfee, "incrementalrelayfee")
    return MempoolOptions(
        max_bytes=config.maxmempool * 1_000_000,
        expiry_s=config.mempoolexpiry * 3600,
        min_relay_feerate=max(relay, incremental) if config.minrelaytxfee == DEFAULT_MIN_RELAY else relay,
        incremental_feerate=incremental,
        dust_feerate=parse_feerate(config.dustrelayfee, "dustrelayfee"),
        max_datacarrier_bytes=config.datacarriersize if config.datacarrier else None,
        permit_bare_multisig=config.permitbaremultisig,
        require_standard=not config.acceptnonstdtxn,
        bytes_per_sigop=config.bytespersigop,
        cluster_count=config.limitclustercount,
        cluster_vbytes=config.limitclustersize * 1000,
    )


def make_pool(config: NodeConfig) -> Mempool:
    """An empty mempool."""
    eviction: EvictionPolicy = LruKFeeEviction() if config.mempool_eviction == "lruk-fee" else DensityEviction()
    return Mempool(mempool_options(config), eviction=eviction)


def make_template_maker(config: NodeConfig) -> TemplateMaker:
    """What chooses transactions for blocks, and signs those of a signet."""
    params = config.network_params()
    limits = BlockLimits(
        max_weight=max(config.blockmaxweight, config.blockreservedweight),
        reserved_weight=config.blockreservedweight,
        min_feerate=parse_feerate(config.blockmintxfee, "blockmintxfee"),
    )
    keys = SigningProvider()
    for text in config.signetkey:
        secret = Secret(*secret_decode(text, params))
        keys.add_pubkey(secret.pubkey)
        keys.add_secret(secret)
    version = config.blockversion if params.mineable else None
    on_chosen = _log_feerates if config.printpriority else _log_nothing
    return TemplateMaker(params, limits, version=version, keys=keys, on_chosen=on_chosen)


def _log_nothing(_: Selection) -> None:
    """Without ``-printpriority``."""


def _log_feerates(chosen: Selection) -> None:
    """Core's lines of ``-printpriority``."""
    for entry in chosen.entries:
        whole, rest = divmod(entry.modified_fee * 1000 // entry.vsize, COIN)
        log.info("fee rate %d.%08d BTC/kvB txid %s", whole, rest, to_display(entry.txid))
