# ruff: noqa
# fmt: off
"""Types of ``typed.py``: made by scripts/docs from the declarations of the methods; do not edit."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NoReturn, NotRequired, TypedDict, overload

Amount = Decimal | float | str
"""Coins, or coins per kvB; a float is exact enough only where its text is."""

Real = int | Decimal
"""A number that may have a fraction."""

class TxHex(TypedDict):
    txid: str
    wtxid: str
    hex: str

class AbortedBroadcasts(TypedDict):
    removed_transactions: list[TxHex]

class AbortedDownload(TypedDict):
    height: int
    blockhash: str
    chunks: int
    chunks_stored: int

class OpenedConnection(TypedDict):
    address: str
    connection_type: str

class AddedAddress(TypedDict):
    success: bool
    error: NotRequired[str]

class MissingParts(TypedDict):
    pubkeys: NotRequired[list[str]]
    signatures: NotRequired[list[str]]
    redeemscript: NotRequired[str]
    witnessscript: NotRequired[str]

class PsbtInputAnalysis(TypedDict):
    has_utxo: bool
    is_final: bool
    missing: NotRequired[MissingParts]
    next: NotRequired[str]

class PsbtAnalysis(TypedDict):
    inputs: NotRequired[list[PsbtInputAnalysis]]
    estimated_vsize: NotRequired[int]
    estimated_feerate: NotRequired[Decimal]
    fee: NotRequired[Decimal]
    next: str
    error: NotRequired[str]

class Bumped(TypedDict):
    txid: str
    origfee: Decimal
    fee: Decimal
    errors: list[str]

class MultisigAddress(TypedDict):
    address: str
    redeemScript: str
    descriptor: str
    warnings: NotRequired[list[str]]

class LoadedWallet(TypedDict):
    name: str
    warnings: NotRequired[list[str]]

class MadeDescriptors(TypedDict):
    descs: list[str]

class ScriptSigJson(TypedDict):
    asm: str
    hex: str

class InputJson(TypedDict):
    coinbase: NotRequired[str]
    txid: NotRequired[str]
    vout: NotRequired[int]
    scriptSig: NotRequired[ScriptSigJson]
    txinwitness: NotRequired[list[str]]
    sequence: int

class ScriptJson(TypedDict):
    asm: str
    desc: str
    hex: str
    address: NotRequired[str]
    type: str

class OutputJson(TypedDict):
    value: Decimal
    n: int
    scriptPubKey: ScriptJson

class TxJson(TypedDict):
    txid: str
    hash: str
    size: int
    vsize: int
    weight: int
    version: int
    locktime: int
    vin: list[InputJson]
    vout: list[OutputJson]

class GlobalXpubJson(TypedDict):
    xpub: str
    master_fingerprint: str
    path: str

class ProprietaryJson(TypedDict):
    identifier: str
    subtype: int
    key: str
    value: str

class UtxoScript(TypedDict):
    asm: str
    desc: str
    hex: str
    type: str
    address: NotRequired[str]

class WitnessUtxo(TypedDict):
    amount: Decimal
    scriptPubKey: UtxoScript

class PsbtScript(TypedDict):
    asm: str
    hex: str
    type: str

class KeyOriginJson(TypedDict):
    pubkey: str
    master_fingerprint: str
    path: str

class LeafSignature(TypedDict):
    pubkey: str
    leaf_hash: str
    sig: str

class LeafScript(TypedDict):
    script: str
    leaf_ver: int
    control_blocks: list[str]

class TaprootKeyOrigin(TypedDict):
    pubkey: str
    master_fingerprint: str
    path: str
    leaf_hashes: list[str]

class AggregateKey(TypedDict):
    aggregate_pubkey: str
    participant_pubkeys: list[str]

class MusigNonce(TypedDict):
    participant_pubkey: str
    aggregate_pubkey: str
    leaf_hash: NotRequired[str]
    pubnonce: str

class MusigSignature(TypedDict):
    participant_pubkey: str
    aggregate_pubkey: str
    leaf_hash: NotRequired[str]
    partial_sig: str

class PsbtInputJson(TypedDict):
    non_witness_utxo: NotRequired[TxJson]
    witness_utxo: NotRequired[WitnessUtxo]
    partial_signatures: NotRequired[dict[str, str]]
    sighash: NotRequired[str]
    redeem_script: NotRequired[PsbtScript]
    witness_script: NotRequired[PsbtScript]
    bip32_derivs: NotRequired[list[KeyOriginJson]]
    final_scriptSig: NotRequired[ScriptSigJson]
    final_scriptwitness: NotRequired[list[str]]
    ripemd160_preimages: NotRequired[dict[str, str]]
    sha256_preimages: NotRequired[dict[str, str]]
    hash160_preimages: NotRequired[dict[str, str]]
    hash256_preimages: NotRequired[dict[str, str]]
    taproot_key_path_sig: NotRequired[str]
    taproot_script_path_sigs: NotRequired[list[LeafSignature]]
    taproot_scripts: NotRequired[list[LeafScript]]
    taproot_bip32_derivs: NotRequired[list[TaprootKeyOrigin]]
    taproot_internal_key: NotRequired[str]
    taproot_merkle_root: NotRequired[str]
    musig2_participant_pubkeys: NotRequired[list[AggregateKey]]
    musig2_pubnonces: NotRequired[list[MusigNonce]]
    musig2_partial_sigs: NotRequired[list[MusigSignature]]
    unknown: NotRequired[dict[str, str]]
    proprietary: NotRequired[list[ProprietaryJson]]

class TreeLeafJson(TypedDict):
    depth: int
    leaf_ver: int
    script: str

class PsbtOutputJson(TypedDict):
    redeem_script: NotRequired[PsbtScript]
    witness_script: NotRequired[PsbtScript]
    bip32_derivs: NotRequired[list[KeyOriginJson]]
    taproot_internal_key: NotRequired[str]
    taproot_tree: NotRequired[list[TreeLeafJson]]
    taproot_bip32_derivs: NotRequired[list[TaprootKeyOrigin]]
    musig2_participant_pubkeys: NotRequired[list[AggregateKey]]
    unknown: NotRequired[dict[str, str]]
    proprietary: NotRequired[list[ProprietaryJson]]

class PsbtJson(TypedDict):
    tx: TxJson
    global_xpubs: list[GlobalXpubJson]
    psbt_version: int
    proprietary: list[ProprietaryJson]
    unknown: dict[str, str]
    inputs: list[PsbtInputJson]
    outputs: list[PsbtOutputJson]
    fee: NotRequired[Decimal]

WrappingProgram = TypedDict(
    "WrappingProgram",
    {
        "asm": str,
        "hex": str,
        "type": str,
        "address": NotRequired[str],
        "desc": str,
        "p2sh-segwit": str,
    },
)

class DecodedScript(TypedDict):
    asm: str
    desc: str
    type: str
    address: NotRequired[str]
    p2sh: NotRequired[str]
    segwit: NotRequired[WrappingProgram]

class ProcessedPsbt(TypedDict):
    psbt: str
    complete: bool
    hex: NotRequired[str]

class BegunDownload(TypedDict):
    height: int
    blockhash: str

class DumpedHints(TypedDict):
    path: str
    height: int
    blockhash: str
    coins: int
    size: int

class DumpedSet(TypedDict):
    coins_written: int
    base_hash: str
    base_height: int
    path: str
    txoutset_hash: str
    nchaintx: int

class SignerJson(TypedDict):
    fingerprint: str
    name: str

class Signers(TypedDict):
    signers: list[SignerJson]

class FeeRange(TypedDict):
    startrange: Real
    endrange: Real
    withintarget: Real
    totalconfirmed: Real
    inmempool: Real
    leftmempool: Real

HorizonEstimate = TypedDict(
    "HorizonEstimate",
    {
        "feerate": NotRequired[Decimal],
        "decay": Real,
        "scale": int,
        "pass": NotRequired[FeeRange],
        "fail": NotRequired[FeeRange],
        "errors": NotRequired[list[str]],
    },
)

class RawFeeEstimates(TypedDict):
    short: NotRequired[HorizonEstimate]
    medium: NotRequired[HorizonEstimate]
    long: NotRequired[HorizonEstimate]

class FeeEstimate(TypedDict):
    feerate: NotRequired[Decimal]
    errors: NotRequired[list[str]]
    blocks: int

class ExportedMap(TypedDict):
    path: str
    bytes_written: int
    file_hash: str

class FinalizedPsbt(TypedDict):
    psbt: NotRequired[str]
    hex: NotRequired[str]
    complete: bool

class FundedTx(TypedDict):
    hex: str
    fee: Decimal
    changepos: int

class GeneratedBlock(TypedDict):
    hash: str
    hex: NotRequired[str]

class AddedNodeConnection(TypedDict):
    address: str
    connected: str

class AddedNodeInfo(TypedDict):
    addednode: str
    connected: bool
    addresses: list[AddedNodeConnection]

class AddressPurpose(TypedDict):
    purpose: str

class EmbeddedAddress(TypedDict):
    isscript: NotRequired[bool]
    iswitness: bool
    witness_version: NotRequired[int]
    witness_program: NotRequired[str]
    script: NotRequired[str]
    hex: NotRequired[str]
    pubkeys: NotRequired[list[str]]
    sigsrequired: NotRequired[int]
    pubkey: NotRequired[str]
    iscompressed: NotRequired[bool]
    address: str
    scriptPubKey: str
    embedded: NotRequired[dict[str, Any]]

class AddressInfo(TypedDict):
    address: str
    scriptPubKey: str
    ismine: bool
    iswatchonly: bool
    solvable: bool
    desc: NotRequired[str]
    parent_desc: NotRequired[str]
    isscript: NotRequired[bool]
    ischange: bool
    iswitness: bool
    witness_version: NotRequired[int]
    witness_program: NotRequired[str]
    script: NotRequired[str]
    hex: NotRequired[str]
    pubkeys: NotRequired[list[str]]
    sigsrequired: NotRequired[int]
    pubkey: NotRequired[str]
    embedded: NotRequired[EmbeddedAddress]
    iscompressed: NotRequired[bool]
    timestamp: NotRequired[int]
    hdkeypath: NotRequired[str]
    hdseedid: NotRequired[str]
    hdmasterfingerprint: NotRequired[str]
    labels: list[str]

class AddressCounts(TypedDict):
    new: int
    tried: int
    total: int

class MyBalances(TypedDict):
    trusted: Decimal
    untrusted_pending: Decimal
    immature: Decimal
    nonmempool: Decimal
    used: NotRequired[Decimal]

class LastBlock(TypedDict):
    hash: str
    height: int

class AllBalances(TypedDict):
    mine: MyBalances
    lastprocessedblock: LastBlock

class CoinbaseJson(TypedDict):
    version: int
    locktime: int
    sequence: int
    coinbase: str
    witness: NotRequired[str]

class BlockJson(TypedDict):
    hash: str
    confirmations: int
    size: int
    strippedsize: int
    weight: int
    coinbase_tx: CoinbaseJson
    height: int
    version: int
    versionHex: str
    merkleroot: str
    tx: list[str]
    time: int
    mediantime: int
    nonce: int
    bits: str
    target: str
    difficulty: Real
    chainwork: str
    nTx: int
    previousblockhash: NotRequired[str]
    nextblockhash: NotRequired[str]

class BlockTx(TypedDict):
    txid: str
    hash: str
    size: int
    vsize: int
    weight: int
    version: int
    locktime: int
    vin: list[InputJson]
    vout: list[OutputJson]
    fee: NotRequired[Decimal]
    hex: str

class BlockWithTxs(TypedDict):
    hash: str
    confirmations: int
    size: int
    strippedsize: int
    weight: int
    coinbase_tx: CoinbaseJson
    height: int
    version: int
    versionHex: str
    merkleroot: str
    tx: list[BlockTx]
    time: int
    mediantime: int
    nonce: int
    bits: str
    target: str
    difficulty: Real
    chainwork: str
    nTx: int
    previousblockhash: NotRequired[str]
    nextblockhash: NotRequired[str]

class PrevoutJson(TypedDict):
    generated: bool
    height: int
    value: Decimal
    scriptPubKey: ScriptJson

class BlockInput(TypedDict):
    coinbase: NotRequired[str]
    txid: NotRequired[str]
    vout: NotRequired[int]
    scriptSig: NotRequired[ScriptSigJson]
    txinwitness: NotRequired[list[str]]
    sequence: int
    prevout: NotRequired[PrevoutJson]

class BlockSpendingTx(TypedDict):
    txid: str
    hash: str
    size: int
    vsize: int
    weight: int
    version: int
    locktime: int
    fee: NotRequired[Decimal]
    hex: str
    vin: list[BlockInput]
    vout: list[OutputJson]

class BlockWithSpent(TypedDict):
    hash: str
    confirmations: int
    size: int
    strippedsize: int
    weight: int
    coinbase_tx: CoinbaseJson
    height: int
    version: int
    versionHex: str
    merkleroot: str
    tx: list[BlockSpendingTx]
    time: int
    mediantime: int
    nonce: int
    bits: str
    target: str
    difficulty: Real
    chainwork: str
    nTx: int
    previousblockhash: NotRequired[str]
    nextblockhash: NotRequired[str]

class BackgroundValidation(TypedDict):
    snapshotheight: int
    blocks: int
    bestblockhash: str
    mediantime: int
    verificationprogress: Real
    chainwork: str

class ChainInfo(TypedDict):
    chain: str
    blocks: int
    headers: int
    bestblockhash: str
    bits: str
    target: str
    difficulty: Real
    time: int
    mediantime: int
    verificationprogress: Real
    initialblockdownload: bool
    backgroundvalidation: NotRequired[BackgroundValidation]
    chainwork: str
    size_on_disk: int
    pruned: bool
    pruneheight: NotRequired[int]
    automatic_pruning: NotRequired[bool]
    prune_target_size: NotRequired[int]
    signet_challenge: NotRequired[str]
    warnings: Any

class BlockFilter(TypedDict):
    filter: str
    header: str

class Empty(TypedDict):
    pass

class HeaderJson(TypedDict):
    hash: str
    confirmations: int
    height: int
    version: int
    versionHex: str
    merkleroot: str
    time: int
    mediantime: int
    nonce: int
    bits: str
    target: str
    difficulty: Real
    chainwork: str
    nTx: int
    previousblockhash: NotRequired[str]
    nextblockhash: NotRequired[str]

class BlockStats(TypedDict):
    avgfee: NotRequired[int]
    avgfeerate: NotRequired[int]
    avgtxsize: NotRequired[int]
    blockhash: NotRequired[str]
    feerate_percentiles: NotRequired[list[int]]
    height: NotRequired[int]
    ins: NotRequired[int]
    maxfee: NotRequired[int]
    maxfeerate: NotRequired[int]
    maxtxsize: NotRequired[int]
    medianfee: NotRequired[int]
    mediantime: NotRequired[int]
    mediantxsize: NotRequired[int]
    minfee: NotRequired[int]
    minfeerate: NotRequired[int]
    mintxsize: NotRequired[int]
    outs: NotRequired[int]
    subsidy: NotRequired[int]
    swtotal_size: NotRequired[int]
    swtotal_weight: NotRequired[int]
    swtxs: NotRequired[int]
    time: NotRequired[int]
    total_out: NotRequired[int]
    total_size: NotRequired[int]
    total_weight: NotRequired[int]
    totalfee: NotRequired[int]
    txs: NotRequired[int]
    utxo_increase: NotRequired[int]
    utxo_size_inc: NotRequired[int]
    utxo_increase_actual: NotRequired[int]
    utxo_size_inc_actual: NotRequired[int]

class TemplateTx(TypedDict):
    data: str
    txid: str
    hash: str
    depends: list[int]
    fee: int
    sigops: int
    weight: int

class BlockTemplate(TypedDict):
    version: int
    rules: list[str]
    vbavailable: dict[str, int]
    capabilities: list[str]
    vbrequired: int
    previousblockhash: str
    transactions: list[TemplateTx]
    coinbaseaux: dict[str, str]
    coinbasevalue: int
    longpollid: str
    target: str
    mintime: int
    mutable: list[str]
    noncerange: str
    sigoplimit: int
    sizelimit: int
    weightlimit: NotRequired[int]
    curtime: int
    bits: str
    height: int
    signet_challenge: NotRequired[str]
    default_witness_commitment: NotRequired[str]

class ChainstateInfo(TypedDict):
    blocks: int
    bestblockhash: str
    bits: str
    target: str
    difficulty: Real
    verificationprogress: Real
    snapshot_blockhash: NotRequired[str]
    coins_db_cache_bytes: int
    coins_tip_cache_bytes: int
    validated: bool

class UtxoSetDownload(TypedDict):
    blockhash: str
    height: int
    state: str
    chunks: int
    chunks_stored: int
    size: int
    peers: int
    error: NotRequired[str]

class Chainstates(TypedDict):
    headers: int
    chainstates: list[ChainstateInfo]
    utxo_set_download: NotRequired[UtxoSetDownload]

class ChainTip(TypedDict):
    height: int
    hash: str
    branchlen: int
    status: str

class ChainTxStats(TypedDict):
    time: int
    txcount: NotRequired[int]
    window_final_block_hash: str
    window_final_block_height: int
    window_block_count: int
    window_interval: NotRequired[int]
    window_tx_count: NotRequired[int]
    txrate: NotRequired[Real]

class VoteStatistics(TypedDict):
    period: int
    threshold: NotRequired[int]
    elapsed: int
    count: int
    possible: NotRequired[bool]

class Vote(TypedDict):
    bit: NotRequired[int]
    start_time: int
    timeout: int
    min_activation_height: int
    status: str
    since: int
    status_next: str
    statistics: NotRequired[VoteStatistics]
    signalling: NotRequired[str]

class DeploymentState(TypedDict):
    type: str
    height: NotRequired[int]
    active: bool
    bip9: NotRequired[Vote]

class Deployments(TypedDict):
    hash: str
    height: int
    script_flags: list[str]
    deployments: dict[str, DeploymentState]

class SpendEvent(TypedDict):
    type: str
    amount: Decimal
    blockhash: NotRequired[str]
    height: NotRequired[int]
    spend_txid: str
    spend_vin: int
    prevout_txid: str
    prevout_vout: int
    prevout_spk: ScriptJson

class ReceiveEvent(TypedDict):
    type: str
    amount: Decimal
    blockhash: NotRequired[str]
    height: NotRequired[int]
    txid: str
    vout: int
    output_spk: ScriptJson

class DescriptorActivity(TypedDict):
    activity: list[SpendEvent | ReceiveEvent]

class DescriptorInfo(TypedDict):
    descriptor: str
    multipath_expansion: NotRequired[list[str]]
    checksum: str
    isrange: bool
    issolvable: bool
    hasprivatekeys: bool

class KeyUse(TypedDict):
    desc: str
    active: bool

class HdKey(TypedDict):
    xpub: str
    has_private: bool
    xprv: NotRequired[str]
    descriptors: list[KeyUse]

class IndexInfo(TypedDict):
    synced: bool
    best_block_height: int

class HeapInfo(TypedDict):
    used: int
    free: int
    total: int
    locked: int
    chunks_used: int
    chunks_free: int

class ProcessMemory(TypedDict):
    peak_resident: int

class MemoryInfo(TypedDict):
    locked: HeapInfo
    process: ProcessMemory

class EntryFees(TypedDict):
    base: Decimal
    modified: Decimal
    ancestor: Decimal
    descendant: Decimal
    chunk: Decimal

MempoolEntryJson = TypedDict(
    "MempoolEntryJson",
    {
        "vsize": int,
        "weight": int,
        "time": int,
        "height": int,
        "descendantcount": int,
        "descendantsize": int,
        "ancestorcount": int,
        "ancestorsize": int,
        "chunkweight": int,
        "wtxid": str,
        "fees": EntryFees,
        "depends": list[str],
        "spentby": list[str],
        "unbroadcast": bool,
        "bip125-replaceable": NotRequired[bool],
    },
)

class ChunkInfo(TypedDict):
    chunkfee: Decimal
    chunkweight: int
    txs: list[str]

class ClusterInfo(TypedDict):
    clusterweight: int
    txcount: int
    chunks: list[ChunkInfo]

class DiagramPoint(TypedDict):
    weight: int
    fee: Decimal

class MempoolInfo(TypedDict):
    loaded: bool
    size: int
    bytes: int
    usage: int
    total_fee: Decimal
    maxmempool: int
    mempoolminfee: Decimal
    minrelaytxfee: Decimal
    incrementalrelayfee: Decimal
    unbroadcastcount: int
    permitbaremultisig: bool
    maxdatacarriersize: int
    limitclustercount: int
    limitclustersize: int
    optimal: bool
    fullrbf: NotRequired[bool]

class NextBlock(TypedDict):
    height: int
    bits: str
    difficulty: Real
    target: str

class MiningInfo(TypedDict):
    blocks: int
    currentblockweight: NotRequired[int]
    currentblocktx: NotRequired[int]
    bits: str
    difficulty: Real
    target: str
    networkhashps: Real
    pooledtx: int
    blockmintxfee: Decimal
    chain: str
    signet_challenge: NotRequired[str]
    next: NextBlock
    warnings: Any

class UploadTarget(TypedDict):
    timeframe: int
    target: int
    target_reached: bool
    serve_historical_blocks: bool
    bytes_left_in_cycle: int
    time_left_in_cycle: int

class NetTotals(TypedDict):
    totalbytesrecv: int
    totalbytessent: int
    timemillis: int
    uploadtarget: UploadTarget

class NetworkUse(TypedDict):
    name: str
    limited: bool
    reachable: bool
    proxy: str
    proxy_randomize_credentials: bool

class LocalAddressJson(TypedDict):
    address: str
    port: int
    score: int

class NetworkInfo(TypedDict):
    version: int
    subversion: str
    protocolversion: int
    localservices: str
    localservicesnames: list[str]
    localrelay: bool
    timeoffset: int
    connections: int
    connections_in: int
    connections_out: int
    networkactive: bool
    networks: list[NetworkUse]
    relayfee: Decimal
    incrementalfee: Decimal
    localaddresses: list[LocalAddressJson]
    warnings: Any

class NodeAddress(TypedDict):
    time: int
    services: int
    address: str
    port: int
    network: str

OrphanInfo = TypedDict(
    "OrphanInfo",
    {
        "txid": str,
        "wtxid": str,
        "bytes": int,
        "vsize": int,
        "weight": int,
        "from": list[int],
    },
)

OrphanWithTx = TypedDict(
    "OrphanWithTx",
    {
        "txid": str,
        "wtxid": str,
        "bytes": int,
        "vsize": int,
        "weight": int,
        "from": list[int],
        "hex": str,
    },
)

class PeerInfo(TypedDict):
    id: int
    addr: str
    addrbind: NotRequired[str]
    addrlocal: NotRequired[str]
    network: str
    mapped_as: NotRequired[int]
    services: str
    servicesnames: list[str]
    relaytxes: bool
    last_inv_sequence: int
    inv_to_send: int
    lastsend: int
    lastrecv: int
    last_transaction: int
    last_block: int
    bytessent: int
    bytesrecv: int
    conntime: int
    timeoffset: int
    pingtime: NotRequired[Real]
    minping: NotRequired[Real]
    pingwait: NotRequired[Real]
    version: int
    subver: str
    inbound: bool
    bip152_hb_to: bool
    bip152_hb_from: bool
    presynced_headers: int
    synced_headers: int
    synced_blocks: int
    inflight: list[int]
    addr_relay_enabled: bool
    addr_processed: int
    addr_rate_limited: int
    permissions: list[str]
    minfeefilter: Decimal
    bytessent_per_msg: dict[str, int]
    bytesrecv_per_msg: dict[str, int]
    connection_type: str
    transport_protocol_type: str
    session_id: str

class PeerScore(TypedDict):
    id: int
    score: Real
    state: str
    standing: str
    service: Real
    value: Real
    fault: Real
    useful: Real
    wasted: Real
    failed: Real
    violations: Real
    work: Real

class PeerScores(TypedDict):
    weights: list[Real]
    peers: list[PeerScore]

class FeeDelta(TypedDict):
    fee_delta: int
    in_mempool: bool
    modified_fee: NotRequired[int]

class PrivateSending(TypedDict):
    address: str
    sent: int
    received: NotRequired[int]

class PrivateBroadcast(TypedDict):
    txid: str
    wtxid: str
    hex: str
    time_added: int
    peers: list[PrivateSending]

class PrivateBroadcasts(TypedDict):
    transactions: list[PrivateBroadcast]

class AddressEntry(TypedDict):
    address: str
    mapped_as: NotRequired[int]
    port: int
    network: str
    services: int
    time: int
    source: str
    source_network: str
    source_mapped_as: NotRequired[int]

class TxidsInSequence(TypedDict):
    txids: list[str]
    mempool_sequence: int

class TransactionInfo(TypedDict):
    in_active_chain: NotRequired[bool]
    blockhash: NotRequired[str]
    confirmations: NotRequired[int]
    blocktime: NotRequired[int]
    time: NotRequired[int]
    hex: str
    txid: str
    hash: str
    size: int
    vsize: int
    weight: int
    version: int
    locktime: int
    vin: list[InputJson]
    vout: list[OutputJson]

class SpendingInput(TypedDict):
    coinbase: NotRequired[str]
    txid: NotRequired[str]
    vout: NotRequired[int]
    scriptSig: NotRequired[ScriptSigJson]
    txinwitness: NotRequired[list[str]]
    sequence: int
    prevout: NotRequired[PrevoutJson]

class SpendingInfo(TypedDict):
    in_active_chain: NotRequired[bool]
    blockhash: NotRequired[str]
    confirmations: NotRequired[int]
    blocktime: NotRequired[int]
    time: NotRequired[int]
    hex: str
    fee: NotRequired[Decimal]
    txid: str
    hash: str
    size: int
    vsize: int
    weight: int
    version: int
    locktime: int
    vin: list[SpendingInput]
    vout: list[OutputJson]

class ActiveCommand(TypedDict):
    method: str
    duration: int

class RpcInfo(TypedDict):
    active_commands: list[ActiveCommand]
    logpath: str

class SwiftSyncInfo(TypedDict):
    running: bool
    full: bool
    height: int
    blockhash: NotRequired[str]
    blocks: int
    inputs: int
    coins: int
    progress: Real
    blocks_per_second: Real
    inputs_per_second: Real
    seconds_left: NotRequired[int]
    failure: NotRequired[str]

class SyncCosts(TypedDict):
    duration: Real
    blocks: int
    transactions: int
    inputs: int
    blocks_per_second: Real
    inputs_per_second: Real
    mean_memory: int
    peak_memory: int
    mean_peers: Real
    most_peers: int
    busy: dict[str, Real]
    bottleneck: str

class ProcessCounts(TypedDict):
    threads: int
    tasks: int
    workers: int
    allocated_blocks: int

class SyncProfile(TypedDict):
    state: str
    initial_download: NotRequired[SyncCosts]
    recent: NotRequired[SyncCosts]
    process: ProcessCounts

SyncStep = TypedDict(
    "SyncStep",
    {
        "time": int,
        "from": str,
        "to": str,
        "event": str,
        "height": int,
    },
)

class SyncState(TypedDict):
    state: str
    since: int
    refused: int
    history: list[SyncStep]
    advice: NotRequired[str]

class TxDetail(TypedDict):
    address: NotRequired[str]
    category: str
    amount: Decimal
    label: NotRequired[str]
    vout: int
    fee: NotRequired[Decimal]
    abandoned: bool
    parent_descs: NotRequired[list[str]]

class WalletOutput(TypedDict):
    value: Decimal
    n: int
    scriptPubKey: ScriptJson
    ischange: NotRequired[bool]

class WalletTxJson(TypedDict):
    txid: str
    hash: str
    size: int
    vsize: int
    weight: int
    version: int
    locktime: int
    vin: list[InputJson]
    vout: list[WalletOutput]

WalletTransaction = TypedDict(
    "WalletTransaction",
    {
        "amount": Decimal,
        "fee": NotRequired[Decimal],
        "confirmations": int,
        "generated": NotRequired[bool],
        "trusted": NotRequired[bool],
        "blockhash": NotRequired[str],
        "blockheight": NotRequired[int],
        "blockindex": NotRequired[int],
        "blocktime": NotRequired[int],
        "txid": str,
        "wtxid": str,
        "walletconflicts": list[str],
        "replaced_by_txid": NotRequired[str],
        "replaces_txid": NotRequired[str],
        "mempoolconflicts": list[str],
        "to": NotRequired[str],
        "time": int,
        "timereceived": int,
        "comment": NotRequired[str],
        "bip125-replaceable": str,
        "parent_descs": NotRequired[list[str]],
        "details": list[TxDetail],
        "hex": str,
        "decoded": NotRequired[WalletTxJson],
        "lastprocessedblock": LastBlock,
    },
)

class UnspentOutput(TypedDict):
    bestblock: str
    confirmations: int
    value: Decimal
    scriptPubKey: UtxoScript
    coinbase: bool

class UnspendableCoins(TypedDict):
    genesis_block: Decimal
    bip30: Decimal
    scripts: Decimal
    unclaimed_rewards: Decimal

class BlockCoins(TypedDict):
    prevout_spent: Decimal
    coinbase: Decimal
    new_outputs_ex_coinbase: Decimal
    unspendable: Decimal
    unspendables: UnspendableCoins

class TxoutSetInfo(TypedDict):
    height: int
    bestblock: str
    txouts: int
    bogosize: int
    hash_serialized_3: NotRequired[str]
    muhash: NotRequired[str]
    transactions: NotRequired[int]
    disk_size: NotRequired[int]
    total_amount: Decimal
    total_unspendable_amount: NotRequired[Decimal]
    block_info: NotRequired[BlockCoins]

class SpenderOf(TypedDict):
    txid: str
    vout: int
    spendingtxid: NotRequired[str]
    spendingtx: NotRequired[str]
    blockhash: NotRequired[str]

class UtreexoBlockProof(TypedDict):
    proofhashes: list[str]
    targethashes: list[str]
    targetpreimages: list[str]
    prooftargets: list[int]

class UtreexoRoots(TypedDict):
    roots: list[str]
    numleaves: int
    blockhash: str
    height: int
    hex: str

class WalletInfo(TypedDict):
    walletname: str
    walletversion: int
    format: str
    txcount: int
    keypoolsize: int
    keypoolsize_hd_internal: NotRequired[int]
    unlocked_until: NotRequired[int]
    private_keys_enabled: bool
    avoid_reuse: bool
    scanning: Any
    descriptors: bool
    external_signer: bool
    blank: bool
    birthtime: NotRequired[int]
    flags: list[str]
    lastprocessedblock: LastBlock

class Notification(TypedDict):
    type: str
    address: str
    hwm: int

class ImportFault(TypedDict):
    code: int
    message: str

class ImportResult(TypedDict):
    success: bool
    warnings: NotRequired[list[str]]
    error: NotRequired[ImportFault]

class BannedRange(TypedDict):
    address: str
    ban_created: int
    banned_until: int
    ban_duration: int
    time_remaining: int

class ListedDescriptor(TypedDict):
    desc: str
    timestamp: int
    active: bool
    internal: NotRequired[bool]
    range: NotRequired[list[int]]
    next: NotRequired[int]
    next_index: NotRequired[int]

class ListedDescriptors(TypedDict):
    wallet_name: str
    descriptors: list[ListedDescriptor]

class Outpoint(TypedDict):
    txid: str
    vout: int

class ReceivedByAddress(TypedDict):
    address: str
    amount: Decimal
    confirmations: int
    label: str
    txids: list[str]

class ReceivedByLabel(TypedDict):
    amount: Decimal
    confirmations: int
    label: str

EntrySince = TypedDict(
    "EntrySince",
    {
        "address": NotRequired[str],
        "category": str,
        "amount": Decimal,
        "vout": int,
        "fee": NotRequired[Decimal],
        "confirmations": int,
        "generated": NotRequired[bool],
        "trusted": NotRequired[bool],
        "blockhash": NotRequired[str],
        "blockheight": NotRequired[int],
        "blockindex": NotRequired[int],
        "blocktime": NotRequired[int],
        "txid": str,
        "wtxid": str,
        "walletconflicts": list[str],
        "replaced_by_txid": NotRequired[str],
        "replaces_txid": NotRequired[str],
        "mempoolconflicts": list[str],
        "to": NotRequired[str],
        "time": int,
        "timereceived": int,
        "comment": NotRequired[str],
        "bip125-replaceable": str,
        "parent_descs": NotRequired[list[str]],
        "abandoned": bool,
        "label": NotRequired[str],
    },
)

class SinceBlock(TypedDict):
    transactions: list[EntrySince]
    removed: NotRequired[list[EntrySince]]
    lastblock: str

HistoryEntry = TypedDict(
    "HistoryEntry",
    {
        "address": NotRequired[str],
        "category": str,
        "amount": Decimal,
        "label": NotRequired[str],
        "vout": int,
        "fee": NotRequired[Decimal],
        "confirmations": int,
        "generated": NotRequired[bool],
        "trusted": NotRequired[bool],
        "blockhash": NotRequired[str],
        "blockheight": NotRequired[int],
        "blockindex": NotRequired[int],
        "blocktime": NotRequired[int],
        "txid": str,
        "wtxid": str,
        "walletconflicts": list[str],
        "replaced_by_txid": NotRequired[str],
        "replaces_txid": NotRequired[str],
        "mempoolconflicts": list[str],
        "to": NotRequired[str],
        "time": int,
        "timereceived": int,
        "comment": NotRequired[str],
        "bip125-replaceable": str,
        "parent_descs": NotRequired[list[str]],
        "abandoned": bool,
    },
)

class Unspent(TypedDict):
    txid: str
    vout: int
    address: NotRequired[str]
    label: NotRequired[str]
    scriptPubKey: str
    amount: Decimal
    confirmations: int
    ancestorcount: NotRequired[int]
    ancestorsize: NotRequired[int]
    ancestorfees: NotRequired[int]
    redeemScript: NotRequired[str]
    witnessScript: NotRequired[str]
    spendable: bool
    solvable: bool
    reused: NotRequired[bool]
    desc: NotRequired[str]
    parent_descs: list[str]
    safe: bool

class FoundWallet(TypedDict):
    name: str
    warnings: NotRequired[list[str]]

class FoundWallets(TypedDict):
    wallets: list[FoundWallet]

class LoadedSet(TypedDict):
    coins_loaded: int
    tip_hash: str
    base_height: int
    path: str

class MigratedWallet(TypedDict):
    wallet_name: str
    watchonly_name: NotRequired[str]
    solvables_name: NotRequired[str]
    backup_path: str

class CoinOfProof(TypedDict):
    txid: str
    vout: int
    value: Decimal
    scriptPubKey: str
    height: int
    blockhash: str
    coinbase: bool

class CoinProofResult(TypedDict):
    blockhash: str
    height: int
    coins: list[CoinOfProof]
    hex: str

class ChainTipProof(TypedDict):
    provedathash: str
    proofhashes: list[str]
    prooftargets: list[int]
    hashesproven: list[str]
    hex: str

class BumpedPsbt(TypedDict):
    psbt: str
    origfee: Decimal
    fee: Decimal
    errors: list[str]

class ScannedBlocks(TypedDict):
    start_height: int
    stop_height: NotRequired[int]

class SavedMempool(TypedDict):
    filename: str

class BlockScanResult(TypedDict):
    from_height: int
    to_height: int
    relevant_blocks: list[str]
    completed: bool

class BlockScanProgress(TypedDict):
    progress: int
    current_height: int

class ScannedOutput(TypedDict):
    txid: str
    vout: int
    scriptPubKey: str
    desc: str
    amount: Decimal
    coinbase: bool
    height: int
    blockhash: str
    confirmations: int

class ScanResult(TypedDict):
    success: bool
    txouts: int
    height: int
    bestblock: str
    unspents: list[ScannedOutput]
    total_amount: Decimal

class ScanProgress(TypedDict):
    progress: int

class SentOrNot(TypedDict):
    complete: bool
    txid: NotRequired[str]
    hex: NotRequired[str]
    psbt: NotRequired[str]

class SentTx(TypedDict):
    txid: str
    fee_reason: str

class ChangedFlag(TypedDict):
    flag_name: str
    flag_state: bool
    warnings: NotRequired[str]

class InputError(TypedDict):
    txid: str
    vout: int
    witness: list[str]
    scriptSig: str
    sequence: int
    error: str

class SignedTx(TypedDict):
    hex: str
    complete: bool
    errors: NotRequired[list[InputError]]

class Simulated(TypedDict):
    balance_change: Decimal

PackageFees = TypedDict(
    "PackageFees",
    {
        "base": Decimal,
        "effective-feerate": NotRequired[Decimal],
        "effective-includes": NotRequired[list[str]],
    },
)

PackageTxAnswer = TypedDict(
    "PackageTxAnswer",
    {
        "txid": str,
        "other-wtxid": NotRequired[str],
        "vsize": NotRequired[int],
        "fees": NotRequired[PackageFees],
        "error": NotRequired[str],
    },
)

PackageAnswer = TypedDict(
    "PackageAnswer",
    {
        "package_msg": str,
        "tx-results": dict[str, PackageTxAnswer],
        "replaced-transactions": NotRequired[list[str]],
    },
)

JudgedFees = TypedDict(
    "JudgedFees",
    {
        "base": Decimal,
        "effective-feerate": Decimal,
        "effective-includes": list[str],
    },
)

AcceptanceTest = TypedDict(
    "AcceptanceTest",
    {
        "txid": str,
        "wtxid": str,
        "package-error": NotRequired[str],
        "allowed": NotRequired[bool],
        "vsize": NotRequired[int],
        "fees": NotRequired[JudgedFees],
        "reject-reason": NotRequired[str],
        "reject-details": NotRequired[str],
    },
)

class UnloadedWallet(TypedDict):
    warnings: NotRequired[list[str]]

class ValidatedAddress(TypedDict):
    isvalid: bool
    address: NotRequired[str]
    scriptPubKey: NotRequired[str]
    isscript: NotRequired[bool]
    iswitness: NotRequired[bool]
    witness_version: NotRequired[int]
    witness_program: NotRequired[str]
    error: NotRequired[str]
    error_locations: NotRequired[list[int]]

class Verdict(TypedDict):
    valid: bool
    error: NotRequired[str]
    blockhash: str
    height: int
    coins: list[CoinOfProof]

class Tip(TypedDict):
    hash: str
    height: int

class FundedPsbt(TypedDict):
    psbt: str
    fee: Decimal
    changepos: int

class ShownAddress(TypedDict):
    address: str

class NodeRpc:
    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None: ...
    async def abandontransaction(self, txid: str) -> None:
        """Give up a transaction that is in no block and not in the mempool, and what depends on it: its coins are free."""
    async def abortprivatebroadcast(self, id: str) -> AbortedBroadcasts:
        """Give the private broadcast of a transaction up."""
    async def abortrescan(self) -> bool:
        """Have a rescan end that a method has begun."""
    async def abortutxosetdownload(self, keep: bool | None = ...) -> AbortedDownload:
        """Give up the download of a UTXO set that downloadutxoset or -downloadutxoset has begun, as long as it is not being
        loaded. With -downloadutxoset the next start begins it again.
        """
    async def addconnection(self, address: str, connection_type: str, v2transport: bool) -> OpenedConnection:
        """Open an automatic connection to a node (regtest only, for tests)."""
    async def addnode(self, node: str, command: str, v2transport: bool | None = ...) -> None:
        """Keep a connection to a node, stop doing so, or try one connection."""
    async def addpeeraddress(self, address: str, port: int, tried: bool | None = ...) -> AddedAddress:
        """Add an address to the address book (for tests)."""
    async def analyzepsbt(self, psbt: str) -> PsbtAnalysis:
        """What a PSBT still needs, and who is next."""
    async def backupwallet(self, destination: str) -> None:
        """Copy the wallet's file."""
    async def bumpfee(self, txid: str, options: Mapping[str, Any] | None = ...) -> Bumped:
        """Replace a transaction of the wallet by one that pays a higher fee.
        All inputs of the transaction are in the new one, and others where those do not suffice; what it pays more is taken from the change. Not for one whose outputs are spent already.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    async def clearbanned(self) -> None:
        """Lift all bans."""
    async def combinepsbt(self, txs: Sequence[str]) -> str:
        """One PSBT with all that several for the same transaction have."""
    async def combinerawtransaction(self, txs: Sequence[str]) -> str:
        """One transaction with the signatures that several copies of it have together."""
    async def converttopsbt(self, hexstring: str, permitsigdata: bool | None = ..., iswitness: bool | None = ...) -> str:
        """A blank PSBT for a transaction in hex."""
    async def createmultisig(self, nrequired: int, keys: Sequence[str], address_type: str | None = ...) -> MultisigAddress:
        """A multisig address of so many keys."""
    async def createpsbt(self, inputs: Sequence[Mapping[str, Any]], outputs: Any, locktime: int | None = ..., replaceable: bool | None = ..., version: int | None = ...) -> str:
        """A blank PSBT for a transaction of these inputs and outputs."""
    async def createrawtransaction(self, inputs: Sequence[Mapping[str, Any]], outputs: Any, locktime: int | None = ..., replaceable: bool | None = ..., version: int | None = ...) -> str:
        """A transaction without signatures, in hex. It is neither kept nor sent."""
    async def createwallet(self, wallet_name: str, disable_private_keys: bool | None = ..., blank: bool | None = ..., passphrase: str | None = ..., avoid_reuse: bool | None = ..., descriptors: bool | None = ..., load_on_startup: bool | None = ..., external_signer: bool | None = ...) -> LoadedWallet:
        """Make a wallet, and load it."""
    async def createwalletdescriptor(self, type: str, options: Mapping[str, Any] | None = ...) -> MadeDescriptors:
        """Make the usual descriptor for a kind of addresses that the wallet has none for yet.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    async def decodepsbt(self, psbt: str) -> PsbtJson:
        """A partially signed transaction as JSON."""
    async def decoderawtransaction(self, hexstring: str, iswitness: bool | None = ...) -> TxJson:
        """A transaction in hex as JSON."""
    async def decodescript(self, hexstring: str) -> DecodedScript:
        """A script in hex as JSON, and the addresses that could wrap it."""
    async def deriveaddresses(self, descriptor: str, range: int | Sequence[int] | None = ...) -> list[str] | list[list[str]]:
        """Addresses of a descriptor. A ranged one needs the range; a multipath one gives a list for each of its
        branches.
        """
    async def descriptorprocesspsbt(self, psbt: str, descriptors: Sequence[str | Mapping[str, Any]], sighashtype: str | None = ..., bip32derivs: bool | None = ..., finalize: bool | None = ...) -> ProcessedPsbt:
        """A PSBT with what descriptors, UTXO set and mempool tell about its segwit inputs, signed with the keys in them."""
    async def disconnectnode(self, address: str | None = ..., nodeid: int | None = ...) -> None:
        """Drop a peer, named by address or by id."""
    async def downloadutxoset(self, height: int, merkle_root: str | None = ...) -> BegunDownload:
        """Ask peers for a UTXO set (BIP 452, draft), and load it as loadtxoutset does once it is here. The node has to run
        with -peerutxosets or -downloadutxoset. getchainstates tells how far it is.
        """
    async def dumphints(self, path: str, height: int | None = ...) -> DumpedHints:
        """Write hints that let another node sync without lookups (its option -swiftsync): which outputs of every block are
        unspent after a block of the active chain. Every block up to that one has to be here, and the undo data of those
        above. It takes about as long as reading all blocks; the log tells how far it is.
        """
    async def dumptxoutset(self, path: str, type: str | None = ..., options: Mapping[str, Any] | None = ...) -> DumpedSet:
        """Write the UTXO set to a file that loadtxoutset takes, as of the tip or as of an earlier block."""
    async def echo(self, arg0: Any = ..., arg1: Any = ..., arg2: Any = ..., arg3: Any = ..., arg4: Any = ..., arg5: Any = ..., arg6: Any = ..., arg7: Any = ..., arg8: Any = ..., arg9: Any = ...) -> Any:
        """Answer with the arguments."""
    async def echoipc(self, arg: str) -> str:
        """Answer with the argument."""
    async def echojson(self, arg0: Any = ..., arg1: Any = ..., arg2: Any = ..., arg3: Any = ..., arg4: Any = ..., arg5: Any = ..., arg6: Any = ..., arg7: Any = ..., arg8: Any = ..., arg9: Any = ...) -> Any:
        """Answer with the arguments."""
    async def encryptwallet(self, passphrase: str) -> str:
        """Encrypt the wallet's keys. It gets a new seed and new descriptors: make a new backup."""
    async def enumeratesigners(self) -> Signers:
        """The devices that the external signer (-signer) knows."""
    async def estimaterawfee(self, conf_target: int, threshold: float | None = ...) -> RawFeeEstimates:
        """What the estimates of each time horizon rest on. Form and contents may change."""
    async def estimatesmartfee(self, conf_target: int, estimate_mode: str | None = ...) -> FeeEstimate:
        """The feerate for a transaction to confirm within so many blocks, as far as it can be known from what was seen."""
    async def exportasmap(self, path: str) -> ExportedMap:
        """Write the built-in map of autonomous systems to a file, over one that is there."""
    async def finalizepsbt(self, psbt: str, extract: bool | None = ...) -> FinalizedPsbt:
        """Make final what has all its signatures, and take the transaction out when that is everything."""
    async def fundrawtransaction(self, hexstring: str, options: Any = ..., iswitness: bool | None = ...) -> FundedTx:
        """Add inputs to a transaction until they pay its outputs, and at most one output for change. Nothing is signed.
        
        What inputs spend has to be in the wallet, or in the UTXO set together with what tells how to spend it. A
        transaction that spends unconfirmed coins pays more than the feerate, as far as those lack.
        """
    async def generate(self) -> NoReturn:
        """has been replaced by the -generate cli option. Refer to -help for more information."""
    async def generateblock(self, output: str, transactions: Sequence[str], submit: bool | None = ...) -> GeneratedBlock:
        """Make a block of given transactions, in their order. Their fees are not collected."""
    async def generatetoaddress(self, nblocks: int, address: str, maxtries: int | None = ...) -> list[str]:
        """Make blocks at once and pay their reward to an address."""
    async def generatetodescriptor(self, num_blocks: int, descriptor: str, maxtries: int | None = ...) -> list[str]:
        """Make blocks at once and pay their reward to a descriptor."""
    async def getaddednodeinfo(self, node: str | None = ...) -> list[AddedNodeInfo]:
        """Nodes added by hand, and whether they are connected."""
    async def getaddressesbylabel(self, label: str) -> dict[str, AddressPurpose]:
        """The addresses that have a label."""
    async def getaddressinfo(self, address: str) -> AddressInfo:
        """What is known of an address; more, if it is the wallet's."""
    async def getaddrmaninfo(self) -> dict[str, AddressCounts]:
        """How many addresses of each network are known."""
    async def getbalance(self, dummy: str | None = ..., minconf: int | None = ..., include_watchonly: bool | None = ..., avoid_reuse: bool | None = ...) -> Decimal:
        """What may be spent now, as far as it is as good as there."""
    async def getbalances(self) -> AllBalances:
        """All balances of the wallet."""
    async def getbestblockhash(self) -> str:
        """Hash of the active chain's tip."""
    @overload
    async def getblock(self, blockhash: str, verbosity: Literal[0, False]) -> str: ...
    @overload
    async def getblock(self, blockhash: str, verbosity: Literal[1, True] = ...) -> BlockJson: ...
    @overload
    async def getblock(self, blockhash: str, verbosity: Literal[2]) -> BlockWithTxs: ...
    @overload
    async def getblock(self, blockhash: str, verbosity: Literal[3]) -> BlockWithSpent: ...
    @overload
    async def getblock(self, blockhash: str, verbosity: Any = ...) -> str | BlockJson | BlockWithTxs | BlockWithSpent:
        """A block: as bytes in hex (verbosity 0), with its txids (1), its transactions (2), and what they spend (3)."""
    async def getblockchaininfo(self) -> ChainInfo:
        """State of the chain and of its verification."""
    async def getblockcount(self) -> int:
        """Height of the active chain's tip."""
    async def getblockfilter(self, blockhash: str, filtertype: str | None = ...) -> BlockFilter:
        """The BIP157 filter of a block."""
    async def getblockfrompeer(self, blockhash: str, peer_id: int) -> Empty:
        """Ask a peer for a block of which only the header is known. Others are not asked for it any more."""
    async def getblockhash(self, height: int) -> str:
        """Hash of the block at a height of the active chain."""
    @overload
    async def getblockheader(self, blockhash: str, verbose: Literal[True] = ...) -> HeaderJson: ...
    @overload
    async def getblockheader(self, blockhash: str, verbose: Literal[False]) -> str: ...
    @overload
    async def getblockheader(self, blockhash: str, verbose: bool | None = ...) -> HeaderJson | str:
        """A block header, as JSON or as bytes in hex."""
    async def getblockstats(self, hash_or_height: Any, stats: Sequence[str] | None = ...) -> BlockStats:
        """Figures of a block. Amounts are in satoshi."""
    async def getblocktemplate(self, template_request: Mapping[str, Any]) -> None | str | BlockTemplate:
        """A template for a block on top of the chain, or the verdict on a proposed block."""
    async def getchainstates(self) -> Chainstates:
        """The chainstates: one, and another below a loaded UTXO set until that is validated. With them how far the
        download of a UTXO set is, once peers were asked for one (downloadutxoset, -downloadutxoset).
        """
    async def getchaintips(self) -> list[ChainTip]:
        """Tips of all known chains, the active one and the branches."""
    async def getchaintxstats(self, nblocks: int | None = ..., blockhash: str | None = ...) -> ChainTxStats:
        """Number and rate of transactions in a window of the chain."""
    async def getconnectioncount(self) -> int:
        """Number of connected peers."""
    async def getdeploymentinfo(self, blockhash: str | None = ...) -> Deployments:
        """Soft forks as of a block: those in force, those being voted on."""
    async def getdescriptoractivity(self, blockhashes: Sequence[str], scanobjects: Sequence[str | Mapping[str, Any]], include_mempool: bool | None = ...) -> DescriptorActivity:
        """What descriptors have received and spent in blocks of the active chain, and in the mempool."""
    async def getdescriptorinfo(self, descriptor: str) -> DescriptorInfo:
        """What a descriptor says, and its checksum."""
    async def getdifficulty(self) -> Real:
        """Proof-of-work difficulty of the tip, as a multiple of mainnet's least."""
    async def gethdkeys(self, options: Mapping[str, Any] | None = ...) -> list[HdKey]:
        """The extended keys of the wallet, and the descriptors that use them."""
    async def getindexinfo(self, index_name: str | None = ...) -> dict[str, IndexInfo]:
        """The state of the indexes that run."""
    @overload
    async def getmemoryinfo(self, mode: Literal['stats'] = ...) -> MemoryInfo: ...
    @overload
    async def getmemoryinfo(self, mode: Literal['mallocinfo']) -> str: ...
    @overload
    async def getmemoryinfo(self, mode: str | None = ...) -> MemoryInfo | str:
        """Memory of the process: the allocator's figures, as nothing is kept from swapping here."""
    @overload
    async def getmempoolancestors(self, txid: str, verbose: Literal[False] = ...) -> list[str]: ...
    @overload
    async def getmempoolancestors(self, txid: str, verbose: Literal[True]) -> dict[str, MempoolEntryJson]: ...
    @overload
    async def getmempoolancestors(self, txid: str, verbose: bool | None = ...) -> list[str] | dict[str, MempoolEntryJson]:
        """All ancestors of a transaction in the mempool."""
    async def getmempoolcluster(self, txid: str) -> ClusterInfo:
        """The cluster of a transaction in the mempool: everything connected with it, by chunks."""
    @overload
    async def getmempooldescendants(self, txid: str, verbose: Literal[False] = ...) -> list[str]: ...
    @overload
    async def getmempooldescendants(self, txid: str, verbose: Literal[True]) -> dict[str, MempoolEntryJson]: ...
    @overload
    async def getmempooldescendants(self, txid: str, verbose: bool | None = ...) -> list[str] | dict[str, MempoolEntryJson]:
        """All descendants of a transaction in the mempool."""
    async def getmempoolentry(self, txid: str) -> MempoolEntryJson:
        """What is known of a transaction in the mempool."""
    async def getmempoolfeeratediagram(self) -> list[DiagramPoint]:
        """The feerate diagram of the whole mempool."""
    async def getmempoolinfo(self) -> MempoolInfo:
        """The state of the mempool."""
    async def getmininginfo(self) -> MiningInfo:
        """What the next block must look like."""
    async def getnettotals(self) -> NetTotals:
        """Bytes sent and received."""
    async def getnetworkhashps(self, nblocks: int | None = ..., height: int | None = ...) -> Real:
        """Estimate of the network's hashes per second."""
    async def getnetworkinfo(self) -> NetworkInfo:
        """State of this node's networking."""
    async def getnewaddress(self, label: str | None = ..., address_type: str | None = ...) -> str:
        """A new address to be paid to."""
    async def getnodeaddresses(self, count: int | None = ..., network: str | None = ...) -> list[NodeAddress]:
        """Known addresses of nodes."""
    async def getopenrpcinfo(self) -> dict[str, Any]:
        """The methods of this node as an OpenRPC document."""
    @overload
    async def getorphantxs(self, verbosity: Literal[0, False] = ...) -> list[str]: ...
    @overload
    async def getorphantxs(self, verbosity: Literal[1, True]) -> list[OrphanInfo]: ...
    @overload
    async def getorphantxs(self, verbosity: Literal[2]) -> list[OrphanWithTx]: ...
    @overload
    async def getorphantxs(self, verbosity: Any = ...) -> list[str] | list[OrphanInfo] | list[OrphanWithTx]:
        """Transactions whose parents are not known."""
    async def getpeerinfo(self) -> list[PeerInfo]:
        """Connected peers."""
    async def getpeerscores(self) -> PeerScores:
        """How peers behave, as numbers (not in Bitcoin Core)."""
    async def getprioritisedtransactions(self) -> dict[str, FeeDelta]:
        """All fee deltas that were given by prioritisetransaction."""
    async def getprivatebroadcastinfo(self) -> PrivateBroadcasts:
        """Transactions that are being broadcast over private connections."""
    async def getrawaddrman(self) -> dict[str, dict[str, AddressEntry]]:
        """The address book's tables, place by place."""
    async def getrawchangeaddress(self, address_type: str | None = ...) -> str:
        """A new address for change, for transactions that are put together by hand."""
    @overload
    async def getrawmempool(self, verbose: Literal[False] = ..., mempool_sequence: Literal[False] = ...) -> list[str]: ...
    @overload
    async def getrawmempool(self, verbose: Literal[True], mempool_sequence: bool | None = ...) -> dict[str, MempoolEntryJson]: ...
    @overload
    async def getrawmempool(self, verbose: Literal[False] = ..., *, mempool_sequence: Literal[True]) -> TxidsInSequence: ...
    @overload
    async def getrawmempool(self, verbose: bool | None = ..., mempool_sequence: bool | None = ...) -> list[str] | dict[str, MempoolEntryJson] | TxidsInSequence:
        """Ids of all transactions in the mempool."""
    @overload
    async def getrawtransaction(self, txid: str, verbosity: Literal[0, False] = ..., blockhash: str | None = ...) -> str: ...
    @overload
    async def getrawtransaction(self, txid: str, verbosity: Literal[1, True], blockhash: str | None = ...) -> TransactionInfo: ...
    @overload
    async def getrawtransaction(self, txid: str, verbosity: Literal[2], blockhash: str | None = ...) -> SpendingInfo: ...
    @overload
    async def getrawtransaction(self, txid: str, verbosity: Any = ..., blockhash: str | None = ...) -> str | TransactionInfo | SpendingInfo:
        """A transaction: of the mempool, with -txindex of any block too, or of the block with blockhash."""
    async def getreceivedbyaddress(self, address: str, minconf: int | None = ..., include_immature_coinbase: bool | None = ...) -> Decimal:
        """All that an address has ever received."""
    async def getreceivedbylabel(self, label: str, minconf: int | None = ..., include_immature_coinbase: bool | None = ...) -> Decimal:
        """All that the addresses with a label have ever received."""
    async def getrpcinfo(self) -> RpcInfo:
        """State of the RPC server."""
    async def getswiftsyncinfo(self) -> SwiftSyncInfo:
        """Tell how far the sync with hints is that this node was started for (-swiftsync)."""
    async def getsyncprofile(self) -> SyncProfile:
        """Where the synchronisation spends its time: the initial download, so far or all of it, and the last minutes."""
    async def getsyncstate(self) -> SyncState:
        """What the node is doing about its chain, and how it came to that."""
    async def gettransaction(self, txid: str, include_watchonly: bool | None = ..., verbose: bool | None = ...) -> WalletTransaction:
        """A transaction of the wallet."""
    async def gettxout(self, txid: str, n: int, include_mempool: bool | None = ...) -> None | UnspentOutput:
        """An unspent transaction output."""
    async def gettxoutproof(self, txids: Sequence[str], blockhash: str | None = ...) -> str:
        """A proof that transactions are in a block. Without blockhash one must be unspent, or in the txindex."""
    async def gettxoutsetinfo(self, hash_type: str | None = ..., hash_or_height: Any = ..., use_index: bool | None = ...) -> TxoutSetInfo:
        """Statistics of the set of unspent outputs. Without coinstatsindex it reads the whole set, which takes a while."""
    async def gettxspendingprevout(self, outputs: Sequence[Mapping[str, Any]], options: Mapping[str, Any] | None = ...) -> list[SpenderOf]:
        """Which transactions spend the given outputs, in the mempool and, with txospenderindex, in blocks."""
    async def getutreexoproof(self, blockhash: str, verbosity: int | None = ...) -> str | UtreexoBlockProof:
        """The proof that what a block spends was in the forest before it. The node has to run with -utreexoindex, and to
        have the block.
        """
    async def getutreexoroots(self, blockhash: str | None = ...) -> UtreexoRoots:
        """The roots of the Utreexo forest after a block. They are those of -utreexoindex; a node without coins
        (-utreexo-csn) has them of its last 4,096 blocks.
        """
    async def getwalletinfo(self) -> WalletInfo:
        """What the wallet is, and how many transactions and addresses it has."""
    async def getzmqnotifications(self) -> list[Notification]:
        """The active ZeroMQ notifications."""
    async def help(self, command: str | None = ...) -> Any:
        """All methods, or the help of one."""
    async def importdescriptors(self, requests: Sequence[Mapping[str, Any]]) -> list[ImportResult]:
        """Import descriptors, and look through the chain for their transactions from the earliest timestamp on.
        
        Of a descriptor with two branches the second one is for change. That takes long for an early timestamp, less with
        an index of block filters. Make a new backup afterwards.
        """
    async def importmempool(self, filepath: str, options: Mapping[str, Any] | None = ...) -> Empty:
        """Take in the transactions of a mempool.dat file."""
    async def importprunedfunds(self, rawtransaction: str, txoutproof: str) -> None:
        """Enter a transaction without a rescan, where its block is not here any more. What spends it is not looked for."""
    async def invalidateblock(self, blockhash: str) -> None:
        """Treat a block as invalid, and leave its chain."""
    async def joinpsbts(self, txs: Sequence[str]) -> str:
        """One PSBT with the inputs and outputs of several; no input may be in two of them."""
    async def keypoolrefill(self, newsize: int | None = ...) -> None:
        """Derive addresses ahead of their use.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    async def listaddressgroupings(self) -> list[list[list[str | Decimal]]]:
        """Addresses that others can tell to belong together, as they were spent from or got change in one transaction."""
    async def listbanned(self) -> list[BannedRange]:
        """Banned addresses and ranges."""
    async def listdescriptors(self, private: bool | None = ...) -> ListedDescriptors:
        """The descriptors of the wallet."""
    async def listlabels(self, purpose: str | None = ...) -> list[str]:
        """All labels, or those of addresses with a purpose."""
    async def listlockunspent(self) -> list[Outpoint]:
        """The outputs that are locked."""
    async def listreceivedbyaddress(self, minconf: int | None = ..., include_empty: bool | None = ..., include_watchonly: bool | None = ..., address_filter: str | None = ..., include_immature_coinbase: bool | None = ...) -> list[ReceivedByAddress]:
        """What each address has received."""
    async def listreceivedbylabel(self, minconf: int | None = ..., include_empty: bool | None = ..., include_watchonly: bool | None = ..., include_immature_coinbase: bool | None = ...) -> list[ReceivedByLabel]:
        """What the addresses of each label have received."""
    async def listsinceblock(self, blockhash: str | None = ..., target_confirmations: int | None = ..., include_watchonly: bool | None = ..., include_removed: bool | None = ..., include_change: bool | None = ..., label: str | None = ...) -> SinceBlock:
        """What happened in the wallet since a block; where the chain has left that one, since they parted."""
    async def listtransactions(self, label: str | None = ..., count: int | None = ..., skip: int | None = ..., include_watchonly: bool | None = ...) -> list[HistoryEntry]:
        """The newest entries of the wallet's history, oldest first. A transaction has one for each output that counts."""
    async def listunspent(self, minconf: int | None = ..., maxconf: int | None = ..., addresses: Sequence[str] | None = ..., include_unsafe: bool | None = ..., query_options: Mapping[str, Any] | None = ...) -> list[Unspent]:
        """The wallet's coins."""
    async def listwalletdir(self) -> FoundWallets:
        """The wallets in the wallets' directory, loaded or not."""
    async def listwallets(self) -> list[str]:
        """The names of the wallets that are loaded."""
    async def loadtxoutset(self, path: str) -> LoadedSet:
        """Load a UTXO set that dumptxoutset has written and whose hash this program knows, and go on from its block.
        The chain below is validated in the background.
        """
    async def loadwallet(self, filename: str, load_on_startup: bool | None = ...) -> LoadedWallet:
        """Load a wallet that is there."""
    async def lockunspent(self, unlock: bool, transactions: Sequence[Mapping[str, Any]] | None = ..., persistent: bool | None = ...) -> bool:
        """Have no transaction spend outputs unless they are named, or take that back; without outputs for all of them."""
    async def logging(self, include: Sequence[str] | None = ..., exclude: Sequence[str] | None = ...) -> dict[str, bool]:
        """Show and switch the categories that are logged in detail. First the included ones are switched on, then the
        excluded ones off; "all" means every one.
        The valid logging categories are: addrman, bench, blockstorage, cmpctblock, coindb, estimatefee, http, i2p, ipc, kernel, leveldb, libevent, mempool, mempoolrej, net, privatebroadcast, proxy, prune, qt, rand, reindex, rpc, scan, selectcoins, tor, txpackages, txreconciliation, validation, walletdb, zmq
        """
    async def migratewallet(self, wallet_name: str | None = ..., passphrase: str | None = ...) -> MigratedWallet:
        """Always an error: there are only descriptor wallets here, and those of earlier formats cannot be read.
        
        Bitcoin Core makes descriptor wallets of legacy ones: by listdescriptors there and importdescriptors here they come.
        """
    async def mockscheduler(self, delta_time: int) -> None:
        """Let the slow timers run ahead, in tests."""
    async def ping(self) -> None:
        """Ask for a ping to every peer; getpeerinfo tells the results."""
    async def preciousblock(self, blockhash: str) -> None:
        """Prefer a block to others of equal work, as if it had come first. A later call overrides it; so does a restart."""
    async def prioritisetransaction(self, txid: str, dummy: float | None, fee_delta: int) -> bool:
        """Let mining take a transaction for one that pays more or less than it does."""
    async def proveutreexocoins(self, outputs: Sequence[Mapping[str, Any]], blockhash: str | None = ...) -> CoinProofResult:
        """Prove that outputs which are unspent now were in the set after a block; anybody with its roots can verify it. The
        node has to run with -utreexoindex.
        """
    async def proveutxochaintipinclusion(self, txids: Sequence[str], vouts: Sequence[int], verbosity: int | None = ...) -> str | ChainTipProof:
        """Prove, in utreexod's form, that outputs are in the set after the tip. The node has to run with -utreexoindex."""
    async def pruneblockchain(self, height: int) -> int:
        """Delete the block files that hold blocks up to a height only. The node must run with -prune."""
    async def psbtbumpfee(self, txid: str, options: Mapping[str, Any] | None = ...) -> BumpedPsbt:
        """A PSBT of a transaction that replaces one of the wallet and pays a higher fee.
        All inputs of the transaction are in the new one, and others where those do not suffice; what it pays more is taken from the change. Not for one whose outputs are spent already.
        """
    async def reconsiderblock(self, blockhash: str) -> None:
        """Forget that a block, its ancestors and descendants are invalid. Undoes invalidateblock."""
    async def removeprunedfunds(self, txid: str) -> None:
        """Forget a transaction of the wallet: what importprunedfunds has done."""
    async def rescanblockchain(self, start_height: int | None = ..., stop_height: int | None = ...) -> ScannedBlocks:
        """Look through the chain for transactions of the wallet; much faster with an index of block filters."""
    async def restorewallet(self, wallet_name: str, backup_file: str, load_on_startup: bool | None = ...) -> LoadedWallet:
        """Load a copy of a wallet under a name that is free."""
    async def savemempool(self) -> SavedMempool:
        """Write the mempool to disk. It fails until that of the last run is loaded."""
    async def scanblocks(self, action: str, scanobjects: Sequence[str | Mapping[str, Any]] | None = ..., start_height: float | None = ..., stop_height: float | None = ..., filtertype: str | None = ..., options: Mapping[str, Any] | None = ...) -> None | BlockScanResult | BlockScanProgress | bool:
        """Blocks that may pay to or spend from descriptors; needs the index of block filters."""
    async def scantxoutset(self, action: str, scanobjects: Sequence[str | Mapping[str, Any]] | None = ...) -> ScanResult | bool | ScanProgress | None:
        """Go through the UTXO set for the outputs of descriptors."""
    async def send(self, outputs: Any, conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., options: Mapping[str, Any] | None = ..., version: int | None = ...) -> SentOrNot:
        """Pay to outputs, with all choices. A transaction that other signatures are needed for is returned as PSBT."""
    async def sendall(self, recipients: Sequence[str | Mapping[str, Any]], conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., options: Mapping[str, Any] | None = ...) -> SentOrNot:
        """Spend all coins that are confirmed or own change, or those named, and leave nothing."""
    @overload
    async def sendmany(self, dummy: str | None, amounts: Mapping[str, Any], minconf: float | None = ..., comment: str | None = ..., subtractfeefrom: Sequence[Any] | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., verbose: Literal[False, None] = ...) -> str: ...
    @overload
    async def sendmany(self, dummy: str | None, amounts: Mapping[str, Any], minconf: float | None = ..., comment: str | None = ..., subtractfeefrom: Sequence[Any] | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., *, verbose: Literal[True]) -> SentTx: ...
    @overload
    async def sendmany(self, dummy: str | None, amounts: Mapping[str, Any], minconf: float | None = ..., comment: str | None = ..., subtractfeefrom: Sequence[Any] | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., verbose: bool | None = ...) -> str | SentTx:
        """Pay to several addresses with one transaction.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    async def sendmsgtopeer(self, peer_id: int, msg_type: str, msg: str) -> Empty:
        """Send any message to a peer (for tests)."""
    async def sendrawtransaction(self, hexstring: str, maxfeerate: Amount | None = ..., maxburnamount: Amount | None = ...) -> str:
        """Hand a transaction in: it enters the mempool and is announced to all peers (with -privatebroadcast it is
        sent to a few nodes through Tor or I2P instead).
        """
    @overload
    async def sendtoaddress(self, address: str, amount: Amount, comment: str | None = ..., comment_to: str | None = ..., subtractfeefromamount: bool | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., avoid_reuse: bool | None = ..., fee_rate: Amount | None = ..., verbose: Literal[False, None] = ...) -> str: ...
    @overload
    async def sendtoaddress(self, address: str, amount: Amount, comment: str | None = ..., comment_to: str | None = ..., subtractfeefromamount: bool | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., avoid_reuse: bool | None = ..., fee_rate: Amount | None = ..., *, verbose: Literal[True]) -> SentTx: ...
    @overload
    async def sendtoaddress(self, address: str, amount: Amount, comment: str | None = ..., comment_to: str | None = ..., subtractfeefromamount: bool | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., avoid_reuse: bool | None = ..., fee_rate: Amount | None = ..., verbose: bool | None = ...) -> str | SentTx:
        """Pay to an address.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    async def sendutreexotransaction(self, hexstring: str, proof: str, maxfeerate: Amount | None = ..., maxburnamount: Amount | None = ...) -> str:
        """Hand a transaction in at a node that keeps no coins (-utreexo-csn): showutreexocoins, then sendrawtransaction.
        The coins stay known also when the transaction is refused.
        """
    async def setban(self, subnet: str, command: str, bantime: int | None = ..., absolute: bool | None = ...) -> None:
        """Ban an address or a range of addresses, or lift such a ban."""
    async def setlabel(self, address: str, label: str) -> None:
        """Give an address a label."""
    async def setmocktime(self, timestamp: int) -> None:
        """Set the node's clock."""
    async def setnetworkactive(self, state: bool) -> bool:
        """Switch P2P traffic on or off."""
    async def setwalletflag(self, flag: str, value: bool | None = ...) -> ChangedFlag:
        """Change a flag of the wallet."""
    async def showutreexocoins(self, proof: str) -> list[CoinOfProof]:
        """Show coins to a node that keeps none (-utreexo-csn), so that its mempool takes what spends them. They are known
        until a block spends them, 20,000 more were shown, or the node stops. A proof about another block than the tip is
        refused.
        """
    async def signmessage(self, address: str, message: str) -> str:
        """Sign a message with the key of an address.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    async def signmessagewithprivkey(self, privkey: str, message: str) -> str:
        """Sign a message with a private key."""
    async def signrawtransactionwithkey(self, hexstring: str, privkeys: Sequence[str], prevtxs: Sequence[Mapping[str, Any]] | None = ..., sighashtype: str | None = ...) -> SignedTx:
        """Sign a transaction with the keys given, and no others."""
    async def signrawtransactionwithwallet(self, hexstring: str, prevtxs: Sequence[Mapping[str, Any]] | None = ..., sighashtype: str | None = ...) -> SignedTx:
        """Sign a transaction with the wallet's keys.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    async def simulaterawtransaction(self, rawtxs: Sequence[str] | None = ..., options: Mapping[str, Any] | None = ...) -> Simulated:
        """What the wallet would win or lose by transactions that follow each other."""
    async def stop(self, wait: int | None = ...) -> str:
        """Ask the node to shut down."""
    async def submitblock(self, hexdata: str, dummy: str | None = ...) -> None | str:
        """Hand in a block. The answer is null when it was connected, else the reason (BIP22)."""
    async def submitheader(self, hexdata: str) -> None:
        """Hand in a block header, as a candidate for the best chain. An error tells why it is invalid."""
    async def submitpackage(self, package: Sequence[str], maxfeerate: Amount | None = ..., maxburnamount: Amount | None = ...) -> PackageAnswer:
        """Hand a package in: a child with its parents, parents first."""
    async def syncwithvalidationinterfacequeue(self) -> None:
        """Return when everything that follows from earlier blocks has been done, and wallets have it on disk."""
    async def testmempoolaccept(self, rawtxs: Sequence[str], maxfeerate: Amount | None = ...) -> list[AcceptanceTest]:
        """Whether transactions would be taken into the mempool, one or a package with parents first."""
    async def unloadwallet(self, wallet_name: str | None = ..., load_on_startup: bool | None = ...) -> UnloadedWallet:
        """Save a wallet and let go of it."""
    async def uptime(self) -> int:
        """Seconds since the node started."""
    async def utxoupdatepsbt(self, psbt: str, descriptors: Sequence[str | Mapping[str, Any]] | None = ...) -> str:
        """A PSBT with what descriptors, UTXO set and mempool tell about its segwit inputs and its outputs."""
    async def validateaddress(self, address: str) -> ValidatedAddress:
        """Return information about the given bitcoin address."""
    async def verifychain(self, checklevel: int | None = ..., nblocks: int | None = ...) -> bool:
        """Check the newest blocks on disk."""
    async def verifymessage(self, address: str, signature: str, message: str) -> bool:
        """Whether a signature of a message is by the key of an address."""
    async def verifytxoutproof(self, proof: str) -> list[str]:
        """The transactions that a proof proves; none when it proves nothing. Its block must be in the active chain."""
    async def verifyutreexoproof(self, proof: str) -> Verdict:
        """Verify a proof of coins against this node's roots after the block that it names. The node has to run with
        -utreexoindex or -utreexo-csn.
        """
    async def verifyutxochaintipinclusionproof(self, proof: str) -> bool:
        """Verify a proof in utreexod's form, which has to be about the tip. The node has to run with -utreexoindex or
        -utreexo-csn.
        """
    async def waitforblock(self, blockhash: str, timeout: int | None = ...) -> Tip:
        """Wait until the tip is a certain block, then tell it. Tells the current one when time is up."""
    async def waitforblockheight(self, height: int, timeout: int | None = ...) -> Tip:
        """Wait until the chain has at least a certain height, then tell its tip. Tells the current one when time is up."""
    async def waitfornewblock(self, timeout: int | None = ..., current_tip: str | None = ...) -> Tip:
        """Wait until the tip changes, then tell it. Tells the current one when time is up."""
    async def walletcreatefundedpsbt(self, inputs: Sequence[Mapping[str, Any]] | None, outputs: Any, locktime: int | None = ..., options: Mapping[str, Any] | None = ..., bip32derivs: bool | None = ..., version: int | None = ...) -> FundedPsbt:
        """A PSBT for a transaction with inputs enough, with what the wallet knows of them."""
    async def walletdisplayaddress(self, address: str) -> ShownAddress:
        """Have the external signer show an address, so that the user can compare it."""
    async def walletlock(self) -> None:
        """Forget the keys of the wallet until its passphrase is given again."""
    async def walletpassphrase(self, passphrase: str, timeout: int) -> None:
        """Unlock the wallet for a time. Of an unlocked one the time is set anew."""
    async def walletpassphrasechange(self, oldpassphrase: str, newpassphrase: str) -> None:
        """Change the passphrase of the wallet."""
    async def walletprocesspsbt(self, psbt: str, sign: bool | None = ..., sighashtype: str | None = ..., bip32derivs: bool | None = ..., finalize: bool | None = ...) -> ProcessedPsbt:
        """A PSBT with what the wallet knows of its inputs and outputs, signed with the wallet's keys.
        Of an encrypted wallet walletpassphrase must have been called before.
        """

class SyncNodeRpc:
    def __init__(self, call: Callable[..., Any]) -> None: ...
    def abandontransaction(self, txid: str) -> None:
        """Give up a transaction that is in no block and not in the mempool, and what depends on it: its coins are free."""
    def abortprivatebroadcast(self, id: str) -> AbortedBroadcasts:
        """Give the private broadcast of a transaction up."""
    def abortrescan(self) -> bool:
        """Have a rescan end that a method has begun."""
    def abortutxosetdownload(self, keep: bool | None = ...) -> AbortedDownload:
        """Give up the download of a UTXO set that downloadutxoset or -downloadutxoset has begun, as long as it is not being
        loaded. With -downloadutxoset the next start begins it again.
        """
    def addconnection(self, address: str, connection_type: str, v2transport: bool) -> OpenedConnection:
        """Open an automatic connection to a node (regtest only, for tests)."""
    def addnode(self, node: str, command: str, v2transport: bool | None = ...) -> None:
        """Keep a connection to a node, stop doing so, or try one connection."""
    def addpeeraddress(self, address: str, port: int, tried: bool | None = ...) -> AddedAddress:
        """Add an address to the address book (for tests)."""
    def analyzepsbt(self, psbt: str) -> PsbtAnalysis:
        """What a PSBT still needs, and who is next."""
    def backupwallet(self, destination: str) -> None:
        """Copy the wallet's file."""
    def bumpfee(self, txid: str, options: Mapping[str, Any] | None = ...) -> Bumped:
        """Replace a transaction of the wallet by one that pays a higher fee.
        All inputs of the transaction are in the new one, and others where those do not suffice; what it pays more is taken from the change. Not for one whose outputs are spent already.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    def clearbanned(self) -> None:
        """Lift all bans."""
    def combinepsbt(self, txs: Sequence[str]) -> str:
        """One PSBT with all that several for the same transaction have."""
    def combinerawtransaction(self, txs: Sequence[str]) -> str:
        """One transaction with the signatures that several copies of it have together."""
    def converttopsbt(self, hexstring: str, permitsigdata: bool | None = ..., iswitness: bool | None = ...) -> str:
        """A blank PSBT for a transaction in hex."""
    def createmultisig(self, nrequired: int, keys: Sequence[str], address_type: str | None = ...) -> MultisigAddress:
        """A multisig address of so many keys."""
    def createpsbt(self, inputs: Sequence[Mapping[str, Any]], outputs: Any, locktime: int | None = ..., replaceable: bool | None = ..., version: int | None = ...) -> str:
        """A blank PSBT for a transaction of these inputs and outputs."""
    def createrawtransaction(self, inputs: Sequence[Mapping[str, Any]], outputs: Any, locktime: int | None = ..., replaceable: bool | None = ..., version: int | None = ...) -> str:
        """A transaction without signatures, in hex. It is neither kept nor sent."""
    def createwallet(self, wallet_name: str, disable_private_keys: bool | None = ..., blank: bool | None = ..., passphrase: str | None = ..., avoid_reuse: bool | None = ..., descriptors: bool | None = ..., load_on_startup: bool | None = ..., external_signer: bool | None = ...) -> LoadedWallet:
        """Make a wallet, and load it."""
    def createwalletdescriptor(self, type: str, options: Mapping[str, Any] | None = ...) -> MadeDescriptors:
        """Make the usual descriptor for a kind of addresses that the wallet has none for yet.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    def decodepsbt(self, psbt: str) -> PsbtJson:
        """A partially signed transaction as JSON."""
    def decoderawtransaction(self, hexstring: str, iswitness: bool | None = ...) -> TxJson:
        """A transaction in hex as JSON."""
    def decodescript(self, hexstring: str) -> DecodedScript:
        """A script in hex as JSON, and the addresses that could wrap it."""
    def deriveaddresses(self, descriptor: str, range: int | Sequence[int] | None = ...) -> list[str] | list[list[str]]:
        """Addresses of a descriptor. A ranged one needs the range; a multipath one gives a list for each of its
        branches.
        """
    def descriptorprocesspsbt(self, psbt: str, descriptors: Sequence[str | Mapping[str, Any]], sighashtype: str | None = ..., bip32derivs: bool | None = ..., finalize: bool | None = ...) -> ProcessedPsbt:
        """A PSBT with what descriptors, UTXO set and mempool tell about its segwit inputs, signed with the keys in them."""
    def disconnectnode(self, address: str | None = ..., nodeid: int | None = ...) -> None:
        """Drop a peer, named by address or by id."""
    def downloadutxoset(self, height: int, merkle_root: str | None = ...) -> BegunDownload:
        """Ask peers for a UTXO set (BIP 452, draft), and load it as loadtxoutset does once it is here. The node has to run
        with -peerutxosets or -downloadutxoset. getchainstates tells how far it is.
        """
    def dumphints(self, path: str, height: int | None = ...) -> DumpedHints:
        """Write hints that let another node sync without lookups (its option -swiftsync): which outputs of every block are
        unspent after a block of the active chain. Every block up to that one has to be here, and the undo data of those
        above. It takes about as long as reading all blocks; the log tells how far it is.
        """
    def dumptxoutset(self, path: str, type: str | None = ..., options: Mapping[str, Any] | None = ...) -> DumpedSet:
        """Write the UTXO set to a file that loadtxoutset takes, as of the tip or as of an earlier block."""
    def echo(self, arg0: Any = ..., arg1: Any = ..., arg2: Any = ..., arg3: Any = ..., arg4: Any = ..., arg5: Any = ..., arg6: Any = ..., arg7: Any = ..., arg8: Any = ..., arg9: Any = ...) -> Any:
        """Answer with the arguments."""
    def echoipc(self, arg: str) -> str:
        """Answer with the argument."""
    def echojson(self, arg0: Any = ..., arg1: Any = ..., arg2: Any = ..., arg3: Any = ..., arg4: Any = ..., arg5: Any = ..., arg6: Any = ..., arg7: Any = ..., arg8: Any = ..., arg9: Any = ...) -> Any:
        """Answer with the arguments."""
    def encryptwallet(self, passphrase: str) -> str:
        """Encrypt the wallet's keys. It gets a new seed and new descriptors: make a new backup."""
    def enumeratesigners(self) -> Signers:
        """The devices that the external signer (-signer) knows."""
    def estimaterawfee(self, conf_target: int, threshold: float | None = ...) -> RawFeeEstimates:
        """What the estimates of each time horizon rest on. Form and contents may change."""
    def estimatesmartfee(self, conf_target: int, estimate_mode: str | None = ...) -> FeeEstimate:
        """The feerate for a transaction to confirm within so many blocks, as far as it can be known from what was seen."""
    def exportasmap(self, path: str) -> ExportedMap:
        """Write the built-in map of autonomous systems to a file, over one that is there."""
    def finalizepsbt(self, psbt: str, extract: bool | None = ...) -> FinalizedPsbt:
        """Make final what has all its signatures, and take the transaction out when that is everything."""
    def fundrawtransaction(self, hexstring: str, options: Any = ..., iswitness: bool | None = ...) -> FundedTx:
        """Add inputs to a transaction until they pay its outputs, and at most one output for change. Nothing is signed.
        
        What inputs spend has to be in the wallet, or in the UTXO set together with what tells how to spend it. A
        transaction that spends unconfirmed coins pays more than the feerate, as far as those lack.
        """
    def generate(self) -> NoReturn:
        """has been replaced by the -generate cli option. Refer to -help for more information."""
    def generateblock(self, output: str, transactions: Sequence[str], submit: bool | None = ...) -> GeneratedBlock:
        """Make a block of given transactions, in their order. Their fees are not collected."""
    def generatetoaddress(self, nblocks: int, address: str, maxtries: int | None = ...) -> list[str]:
        """Make blocks at once and pay their reward to an address."""
    def generatetodescriptor(self, num_blocks: int, descriptor: str, maxtries: int | None = ...) -> list[str]:
        """Make blocks at once and pay their reward to a descriptor."""
    def getaddednodeinfo(self, node: str | None = ...) -> list[AddedNodeInfo]:
        """Nodes added by hand, and whether they are connected."""
    def getaddressesbylabel(self, label: str) -> dict[str, AddressPurpose]:
        """The addresses that have a label."""
    def getaddressinfo(self, address: str) -> AddressInfo:
        """What is known of an address; more, if it is the wallet's."""
    def getaddrmaninfo(self) -> dict[str, AddressCounts]:
        """How many addresses of each network are known."""
    def getbalance(self, dummy: str | None = ..., minconf: int | None = ..., include_watchonly: bool | None = ..., avoid_reuse: bool | None = ...) -> Decimal:
        """What may be spent now, as far as it is as good as there."""
    def getbalances(self) -> AllBalances:
        """All balances of the wallet."""
    def getbestblockhash(self) -> str:
        """Hash of the active chain's tip."""
    @overload
    def getblock(self, blockhash: str, verbosity: Literal[0, False]) -> str: ...
    @overload
    def getblock(self, blockhash: str, verbosity: Literal[1, True] = ...) -> BlockJson: ...
    @overload
    def getblock(self, blockhash: str, verbosity: Literal[2]) -> BlockWithTxs: ...
    @overload
    def getblock(self, blockhash: str, verbosity: Literal[3]) -> BlockWithSpent: ...
    @overload
    def getblock(self, blockhash: str, verbosity: Any = ...) -> str | BlockJson | BlockWithTxs | BlockWithSpent:
        """A block: as bytes in hex (verbosity 0), with its txids (1), its transactions (2), and what they spend (3)."""
    def getblockchaininfo(self) -> ChainInfo:
        """State of the chain and of its verification."""
    def getblockcount(self) -> int:
        """Height of the active chain's tip."""
    def getblockfilter(self, blockhash: str, filtertype: str | None = ...) -> BlockFilter:
        """The BIP157 filter of a block."""
    def getblockfrompeer(self, blockhash: str, peer_id: int) -> Empty:
        """Ask a peer for a block of which only the header is known. Others are not asked for it any more."""
    def getblockhash(self, height: int) -> str:
        """Hash of the block at a height of the active chain."""
    @overload
    def getblockheader(self, blockhash: str, verbose: Literal[True] = ...) -> HeaderJson: ...
    @overload
    def getblockheader(self, blockhash: str, verbose: Literal[False]) -> str: ...
    @overload
    def getblockheader(self, blockhash: str, verbose: bool | None = ...) -> HeaderJson | str:
        """A block header, as JSON or as bytes in hex."""
    def getblockstats(self, hash_or_height: Any, stats: Sequence[str] | None = ...) -> BlockStats:
        """Figures of a block. Amounts are in satoshi."""
    def getblocktemplate(self, template_request: Mapping[str, Any]) -> None | str | BlockTemplate:
        """A template for a block on top of the chain, or the verdict on a proposed block."""
    def getchainstates(self) -> Chainstates:
        """The chainstates: one, and another below a loaded UTXO set until that is validated. With them how far the
        download of a UTXO set is, once peers were asked for one (downloadutxoset, -downloadutxoset).
        """
    def getchaintips(self) -> list[ChainTip]:
        """Tips of all known chains, the active one and the branches."""
    def getchaintxstats(self, nblocks: int | None = ..., blockhash: str | None = ...) -> ChainTxStats:
        """Number and rate of transactions in a window of the chain."""
    def getconnectioncount(self) -> int:
        """Number of connected peers."""
    def getdeploymentinfo(self, blockhash: str | None = ...) -> Deployments:
        """Soft forks as of a block: those in force, those being voted on."""
    def getdescriptoractivity(self, blockhashes: Sequence[str], scanobjects: Sequence[str | Mapping[str, Any]], include_mempool: bool | None = ...) -> DescriptorActivity:
        """What descriptors have received and spent in blocks of the active chain, and in the mempool."""
    def getdescriptorinfo(self, descriptor: str) -> DescriptorInfo:
        """What a descriptor says, and its checksum."""
    def getdifficulty(self) -> Real:
        """Proof-of-work difficulty of the tip, as a multiple of mainnet's least."""
    def gethdkeys(self, options: Mapping[str, Any] | None = ...) -> list[HdKey]:
        """The extended keys of the wallet, and the descriptors that use them."""
    def getindexinfo(self, index_name: str | None = ...) -> dict[str, IndexInfo]:
        """The state of the indexes that run."""
    @overload
    def getmemoryinfo(self, mode: Literal['stats'] = ...) -> MemoryInfo: ...
    @overload
    def getmemoryinfo(self, mode: Literal['mallocinfo']) -> str: ...
    @overload
    def getmemoryinfo(self, mode: str | None = ...) -> MemoryInfo | str:
        """Memory of the process: the allocator's figures, as nothing is kept from swapping here."""
    @overload
    def getmempoolancestors(self, txid: str, verbose: Literal[False] = ...) -> list[str]: ...
    @overload
    def getmempoolancestors(self, txid: str, verbose: Literal[True]) -> dict[str, MempoolEntryJson]: ...
    @overload
    def getmempoolancestors(self, txid: str, verbose: bool | None = ...) -> list[str] | dict[str, MempoolEntryJson]:
        """All ancestors of a transaction in the mempool."""
    def getmempoolcluster(self, txid: str) -> ClusterInfo:
        """The cluster of a transaction in the mempool: everything connected with it, by chunks."""
    @overload
    def getmempooldescendants(self, txid: str, verbose: Literal[False] = ...) -> list[str]: ...
    @overload
    def getmempooldescendants(self, txid: str, verbose: Literal[True]) -> dict[str, MempoolEntryJson]: ...
    @overload
    def getmempooldescendants(self, txid: str, verbose: bool | None = ...) -> list[str] | dict[str, MempoolEntryJson]:
        """All descendants of a transaction in the mempool."""
    def getmempoolentry(self, txid: str) -> MempoolEntryJson:
        """What is known of a transaction in the mempool."""
    def getmempoolfeeratediagram(self) -> list[DiagramPoint]:
        """The feerate diagram of the whole mempool."""
    def getmempoolinfo(self) -> MempoolInfo:
        """The state of the mempool."""
    def getmininginfo(self) -> MiningInfo:
        """What the next block must look like."""
    def getnettotals(self) -> NetTotals:
        """Bytes sent and received."""
    def getnetworkhashps(self, nblocks: int | None = ..., height: int | None = ...) -> Real:
        """Estimate of the network's hashes per second."""
    def getnetworkinfo(self) -> NetworkInfo:
        """State of this node's networking."""
    def getnewaddress(self, label: str | None = ..., address_type: str | None = ...) -> str:
        """A new address to be paid to."""
    def getnodeaddresses(self, count: int | None = ..., network: str | None = ...) -> list[NodeAddress]:
        """Known addresses of nodes."""
    def getopenrpcinfo(self) -> dict[str, Any]:
        """The methods of this node as an OpenRPC document."""
    @overload
    def getorphantxs(self, verbosity: Literal[0, False] = ...) -> list[str]: ...
    @overload
    def getorphantxs(self, verbosity: Literal[1, True]) -> list[OrphanInfo]: ...
    @overload
    def getorphantxs(self, verbosity: Literal[2]) -> list[OrphanWithTx]: ...
    @overload
    def getorphantxs(self, verbosity: Any = ...) -> list[str] | list[OrphanInfo] | list[OrphanWithTx]:
        """Transactions whose parents are not known."""
    def getpeerinfo(self) -> list[PeerInfo]:
        """Connected peers."""
    def getpeerscores(self) -> PeerScores:
        """How peers behave, as numbers (not in Bitcoin Core)."""
    def getprioritisedtransactions(self) -> dict[str, FeeDelta]:
        """All fee deltas that were given by prioritisetransaction."""
    def getprivatebroadcastinfo(self) -> PrivateBroadcasts:
        """Transactions that are being broadcast over private connections."""
    def getrawaddrman(self) -> dict[str, dict[str, AddressEntry]]:
        """The address book's tables, place by place."""
    def getrawchangeaddress(self, address_type: str | None = ...) -> str:
        """A new address for change, for transactions that are put together by hand."""
    @overload
    def getrawmempool(self, verbose: Literal[False] = ..., mempool_sequence: Literal[False] = ...) -> list[str]: ...
    @overload
    def getrawmempool(self, verbose: Literal[True], mempool_sequence: bool | None = ...) -> dict[str, MempoolEntryJson]: ...
    @overload
    def getrawmempool(self, verbose: Literal[False] = ..., *, mempool_sequence: Literal[True]) -> TxidsInSequence: ...
    @overload
    def getrawmempool(self, verbose: bool | None = ..., mempool_sequence: bool | None = ...) -> list[str] | dict[str, MempoolEntryJson] | TxidsInSequence:
        """Ids of all transactions in the mempool."""
    @overload
    def getrawtransaction(self, txid: str, verbosity: Literal[0, False] = ..., blockhash: str | None = ...) -> str: ...
    @overload
    def getrawtransaction(self, txid: str, verbosity: Literal[1, True], blockhash: str | None = ...) -> TransactionInfo: ...
    @overload
    def getrawtransaction(self, txid: str, verbosity: Literal[2], blockhash: str | None = ...) -> SpendingInfo: ...
    @overload
    def getrawtransaction(self, txid: str, verbosity: Any = ..., blockhash: str | None = ...) -> str | TransactionInfo | SpendingInfo:
        """A transaction: of the mempool, with -txindex of any block too, or of the block with blockhash."""
    def getreceivedbyaddress(self, address: str, minconf: int | None = ..., include_immature_coinbase: bool | None = ...) -> Decimal:
        """All that an address has ever received."""
    def getreceivedbylabel(self, label: str, minconf: int | None = ..., include_immature_coinbase: bool | None = ...) -> Decimal:
        """All that the addresses with a label have ever received."""
    def getrpcinfo(self) -> RpcInfo:
        """State of the RPC server."""
    def getswiftsyncinfo(self) -> SwiftSyncInfo:
        """Tell how far the sync with hints is that this node was started for (-swiftsync)."""
    def getsyncprofile(self) -> SyncProfile:
        """Where the synchronisation spends its time: the initial download, so far or all of it, and the last minutes."""
    def getsyncstate(self) -> SyncState:
        """What the node is doing about its chain, and how it came to that."""
    def gettransaction(self, txid: str, include_watchonly: bool | None = ..., verbose: bool | None = ...) -> WalletTransaction:
        """A transaction of the wallet."""
    def gettxout(self, txid: str, n: int, include_mempool: bool | None = ...) -> None | UnspentOutput:
        """An unspent transaction output."""
    def gettxoutproof(self, txids: Sequence[str], blockhash: str | None = ...) -> str:
        """A proof that transactions are in a block. Without blockhash one must be unspent, or in the txindex."""
    def gettxoutsetinfo(self, hash_type: str | None = ..., hash_or_height: Any = ..., use_index: bool | None = ...) -> TxoutSetInfo:
        """Statistics of the set of unspent outputs. Without coinstatsindex it reads the whole set, which takes a while."""
    def gettxspendingprevout(self, outputs: Sequence[Mapping[str, Any]], options: Mapping[str, Any] | None = ...) -> list[SpenderOf]:
        """Which transactions spend the given outputs, in the mempool and, with txospenderindex, in blocks."""
    def getutreexoproof(self, blockhash: str, verbosity: int | None = ...) -> str | UtreexoBlockProof:
        """The proof that what a block spends was in the forest before it. The node has to run with -utreexoindex, and to
        have the block.
        """
    def getutreexoroots(self, blockhash: str | None = ...) -> UtreexoRoots:
        """The roots of the Utreexo forest after a block. They are those of -utreexoindex; a node without coins
        (-utreexo-csn) has them of its last 4,096 blocks.
        """
    def getwalletinfo(self) -> WalletInfo:
        """What the wallet is, and how many transactions and addresses it has."""
    def getzmqnotifications(self) -> list[Notification]:
        """The active ZeroMQ notifications."""
    def help(self, command: str | None = ...) -> Any:
        """All methods, or the help of one."""
    def importdescriptors(self, requests: Sequence[Mapping[str, Any]]) -> list[ImportResult]:
        """Import descriptors, and look through the chain for their transactions from the earliest timestamp on.
        
        Of a descriptor with two branches the second one is for change. That takes long for an early timestamp, less with
        an index of block filters. Make a new backup afterwards.
        """
    def importmempool(self, filepath: str, options: Mapping[str, Any] | None = ...) -> Empty:
        """Take in the transactions of a mempool.dat file."""
    def importprunedfunds(self, rawtransaction: str, txoutproof: str) -> None:
        """Enter a transaction without a rescan, where its block is not here any more. What spends it is not looked for."""
    def invalidateblock(self, blockhash: str) -> None:
        """Treat a block as invalid, and leave its chain."""
    def joinpsbts(self, txs: Sequence[str]) -> str:
        """One PSBT with the inputs and outputs of several; no input may be in two of them."""
    def keypoolrefill(self, newsize: int | None = ...) -> None:
        """Derive addresses ahead of their use.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    def listaddressgroupings(self) -> list[list[list[str | Decimal]]]:
        """Addresses that others can tell to belong together, as they were spent from or got change in one transaction."""
    def listbanned(self) -> list[BannedRange]:
        """Banned addresses and ranges."""
    def listdescriptors(self, private: bool | None = ...) -> ListedDescriptors:
        """The descriptors of the wallet."""
    def listlabels(self, purpose: str | None = ...) -> list[str]:
        """All labels, or those of addresses with a purpose."""
    def listlockunspent(self) -> list[Outpoint]:
        """The outputs that are locked."""
    def listreceivedbyaddress(self, minconf: int | None = ..., include_empty: bool | None = ..., include_watchonly: bool | None = ..., address_filter: str | None = ..., include_immature_coinbase: bool | None = ...) -> list[ReceivedByAddress]:
        """What each address has received."""
    def listreceivedbylabel(self, minconf: int | None = ..., include_empty: bool | None = ..., include_watchonly: bool | None = ..., include_immature_coinbase: bool | None = ...) -> list[ReceivedByLabel]:
        """What the addresses of each label have received."""
    def listsinceblock(self, blockhash: str | None = ..., target_confirmations: int | None = ..., include_watchonly: bool | None = ..., include_removed: bool | None = ..., include_change: bool | None = ..., label: str | None = ...) -> SinceBlock:
        """What happened in the wallet since a block; where the chain has left that one, since they parted."""
    def listtransactions(self, label: str | None = ..., count: int | None = ..., skip: int | None = ..., include_watchonly: bool | None = ...) -> list[HistoryEntry]:
        """The newest entries of the wallet's history, oldest first. A transaction has one for each output that counts."""
    def listunspent(self, minconf: int | None = ..., maxconf: int | None = ..., addresses: Sequence[str] | None = ..., include_unsafe: bool | None = ..., query_options: Mapping[str, Any] | None = ...) -> list[Unspent]:
        """The wallet's coins."""
    def listwalletdir(self) -> FoundWallets:
        """The wallets in the wallets' directory, loaded or not."""
    def listwallets(self) -> list[str]:
        """The names of the wallets that are loaded."""
    def loadtxoutset(self, path: str) -> LoadedSet:
        """Load a UTXO set that dumptxoutset has written and whose hash this program knows, and go on from its block.
        The chain below is validated in the background.
        """
    def loadwallet(self, filename: str, load_on_startup: bool | None = ...) -> LoadedWallet:
        """Load a wallet that is there."""
    def lockunspent(self, unlock: bool, transactions: Sequence[Mapping[str, Any]] | None = ..., persistent: bool | None = ...) -> bool:
        """Have no transaction spend outputs unless they are named, or take that back; without outputs for all of them."""
    def logging(self, include: Sequence[str] | None = ..., exclude: Sequence[str] | None = ...) -> dict[str, bool]:
        """Show and switch the categories that are logged in detail. First the included ones are switched on, then the
        excluded ones off; "all" means every one.
        The valid logging categories are: addrman, bench, blockstorage, cmpctblock, coindb, estimatefee, http, i2p, ipc, kernel, leveldb, libevent, mempool, mempoolrej, net, privatebroadcast, proxy, prune, qt, rand, reindex, rpc, scan, selectcoins, tor, txpackages, txreconciliation, validation, walletdb, zmq
        """
    def migratewallet(self, wallet_name: str | None = ..., passphrase: str | None = ...) -> MigratedWallet:
        """Always an error: there are only descriptor wallets here, and those of earlier formats cannot be read.
        
        Bitcoin Core makes descriptor wallets of legacy ones: by listdescriptors there and importdescriptors here they come.
        """
    def mockscheduler(self, delta_time: int) -> None:
        """Let the slow timers run ahead, in tests."""
    def ping(self) -> None:
        """Ask for a ping to every peer; getpeerinfo tells the results."""
    def preciousblock(self, blockhash: str) -> None:
        """Prefer a block to others of equal work, as if it had come first. A later call overrides it; so does a restart."""
    def prioritisetransaction(self, txid: str, dummy: float | None, fee_delta: int) -> bool:
        """Let mining take a transaction for one that pays more or less than it does."""
    def proveutreexocoins(self, outputs: Sequence[Mapping[str, Any]], blockhash: str | None = ...) -> CoinProofResult:
        """Prove that outputs which are unspent now were in the set after a block; anybody with its roots can verify it. The
        node has to run with -utreexoindex.
        """
    def proveutxochaintipinclusion(self, txids: Sequence[str], vouts: Sequence[int], verbosity: int | None = ...) -> str | ChainTipProof:
        """Prove, in utreexod's form, that outputs are in the set after the tip. The node has to run with -utreexoindex."""
    def pruneblockchain(self, height: int) -> int:
        """Delete the block files that hold blocks up to a height only. The node must run with -prune."""
    def psbtbumpfee(self, txid: str, options: Mapping[str, Any] | None = ...) -> BumpedPsbt:
        """A PSBT of a transaction that replaces one of the wallet and pays a higher fee.
        All inputs of the transaction are in the new one, and others where those do not suffice; what it pays more is taken from the change. Not for one whose outputs are spent already.
        """
    def reconsiderblock(self, blockhash: str) -> None:
        """Forget that a block, its ancestors and descendants are invalid. Undoes invalidateblock."""
    def removeprunedfunds(self, txid: str) -> None:
        """Forget a transaction of the wallet: what importprunedfunds has done."""
    def rescanblockchain(self, start_height: int | None = ..., stop_height: int | None = ...) -> ScannedBlocks:
        """Look through the chain for transactions of the wallet; much faster with an index of block filters."""
    def restorewallet(self, wallet_name: str, backup_file: str, load_on_startup: bool | None = ...) -> LoadedWallet:
        """Load a copy of a wallet under a name that is free."""
    def savemempool(self) -> SavedMempool:
        """Write the mempool to disk. It fails until that of the last run is loaded."""
    def scanblocks(self, action: str, scanobjects: Sequence[str | Mapping[str, Any]] | None = ..., start_height: float | None = ..., stop_height: float | None = ..., filtertype: str | None = ..., options: Mapping[str, Any] | None = ...) -> None | BlockScanResult | BlockScanProgress | bool:
        """Blocks that may pay to or spend from descriptors; needs the index of block filters."""
    def scantxoutset(self, action: str, scanobjects: Sequence[str | Mapping[str, Any]] | None = ...) -> ScanResult | bool | ScanProgress | None:
        """Go through the UTXO set for the outputs of descriptors."""
    def send(self, outputs: Any, conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., options: Mapping[str, Any] | None = ..., version: int | None = ...) -> SentOrNot:
        """Pay to outputs, with all choices. A transaction that other signatures are needed for is returned as PSBT."""
    def sendall(self, recipients: Sequence[str | Mapping[str, Any]], conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., options: Mapping[str, Any] | None = ...) -> SentOrNot:
        """Spend all coins that are confirmed or own change, or those named, and leave nothing."""
    @overload
    def sendmany(self, dummy: str | None, amounts: Mapping[str, Any], minconf: float | None = ..., comment: str | None = ..., subtractfeefrom: Sequence[Any] | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., verbose: Literal[False, None] = ...) -> str: ...
    @overload
    def sendmany(self, dummy: str | None, amounts: Mapping[str, Any], minconf: float | None = ..., comment: str | None = ..., subtractfeefrom: Sequence[Any] | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., *, verbose: Literal[True]) -> SentTx: ...
    @overload
    def sendmany(self, dummy: str | None, amounts: Mapping[str, Any], minconf: float | None = ..., comment: str | None = ..., subtractfeefrom: Sequence[Any] | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., fee_rate: Amount | None = ..., verbose: bool | None = ...) -> str | SentTx:
        """Pay to several addresses with one transaction.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    def sendmsgtopeer(self, peer_id: int, msg_type: str, msg: str) -> Empty:
        """Send any message to a peer (for tests)."""
    def sendrawtransaction(self, hexstring: str, maxfeerate: Amount | None = ..., maxburnamount: Amount | None = ...) -> str:
        """Hand a transaction in: it enters the mempool and is announced to all peers (with -privatebroadcast it is
        sent to a few nodes through Tor or I2P instead).
        """
    @overload
    def sendtoaddress(self, address: str, amount: Amount, comment: str | None = ..., comment_to: str | None = ..., subtractfeefromamount: bool | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., avoid_reuse: bool | None = ..., fee_rate: Amount | None = ..., verbose: Literal[False, None] = ...) -> str: ...
    @overload
    def sendtoaddress(self, address: str, amount: Amount, comment: str | None = ..., comment_to: str | None = ..., subtractfeefromamount: bool | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., avoid_reuse: bool | None = ..., fee_rate: Amount | None = ..., *, verbose: Literal[True]) -> SentTx: ...
    @overload
    def sendtoaddress(self, address: str, amount: Amount, comment: str | None = ..., comment_to: str | None = ..., subtractfeefromamount: bool | None = ..., replaceable: bool | None = ..., conf_target: float | None = ..., estimate_mode: str | None = ..., avoid_reuse: bool | None = ..., fee_rate: Amount | None = ..., verbose: bool | None = ...) -> str | SentTx:
        """Pay to an address.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    def sendutreexotransaction(self, hexstring: str, proof: str, maxfeerate: Amount | None = ..., maxburnamount: Amount | None = ...) -> str:
        """Hand a transaction in at a node that keeps no coins (-utreexo-csn): showutreexocoins, then sendrawtransaction.
        The coins stay known also when the transaction is refused.
        """
    def setban(self, subnet: str, command: str, bantime: int | None = ..., absolute: bool | None = ...) -> None:
        """Ban an address or a range of addresses, or lift such a ban."""
    def setlabel(self, address: str, label: str) -> None:
        """Give an address a label."""
    def setmocktime(self, timestamp: int) -> None:
        """Set the node's clock."""
    def setnetworkactive(self, state: bool) -> bool:
        """Switch P2P traffic on or off."""
    def setwalletflag(self, flag: str, value: bool | None = ...) -> ChangedFlag:
        """Change a flag of the wallet."""
    def showutreexocoins(self, proof: str) -> list[CoinOfProof]:
        """Show coins to a node that keeps none (-utreexo-csn), so that its mempool takes what spends them. They are known
        until a block spends them, 20,000 more were shown, or the node stops. A proof about another block than the tip is
        refused.
        """
    def signmessage(self, address: str, message: str) -> str:
        """Sign a message with the key of an address.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    def signmessagewithprivkey(self, privkey: str, message: str) -> str:
        """Sign a message with a private key."""
    def signrawtransactionwithkey(self, hexstring: str, privkeys: Sequence[str], prevtxs: Sequence[Mapping[str, Any]] | None = ..., sighashtype: str | None = ...) -> SignedTx:
        """Sign a transaction with the keys given, and no others."""
    def signrawtransactionwithwallet(self, hexstring: str, prevtxs: Sequence[Mapping[str, Any]] | None = ..., sighashtype: str | None = ...) -> SignedTx:
        """Sign a transaction with the wallet's keys.
        Of an encrypted wallet walletpassphrase must have been called before.
        """
    def simulaterawtransaction(self, rawtxs: Sequence[str] | None = ..., options: Mapping[str, Any] | None = ...) -> Simulated:
        """What the wallet would win or lose by transactions that follow each other."""
    def stop(self, wait: int | None = ...) -> str:
        """Ask the node to shut down."""
    def submitblock(self, hexdata: str, dummy: str | None = ...) -> None | str:
        """Hand in a block. The answer is null when it was connected, else the reason (BIP22)."""
    def submitheader(self, hexdata: str) -> None:
        """Hand in a block header, as a candidate for the best chain. An error tells why it is invalid."""
    def submitpackage(self, package: Sequence[str], maxfeerate: Amount | None = ..., maxburnamount: Amount | None = ...) -> PackageAnswer:
        """Hand a package in: a child with its parents, parents first."""
    def syncwithvalidationinterfacequeue(self) -> None:
        """Return when everything that follows from earlier blocks has been done, and wallets have it on disk."""
    def testmempoolaccept(self, rawtxs: Sequence[str], maxfeerate: Amount | None = ...) -> list[AcceptanceTest]:
        """Whether transactions would be taken into the mempool, one or a package with parents first."""
    def unloadwallet(self, wallet_name: str | None = ..., load_on_startup: bool | None = ...) -> UnloadedWallet:
        """Save a wallet and let go of it."""
    def uptime(self) -> int:
        """Seconds since the node started."""
    def utxoupdatepsbt(self, psbt: str, descriptors: Sequence[str | Mapping[str, Any]] | None = ...) -> str:
        """A PSBT with what descriptors, UTXO set and mempool tell about its segwit inputs and its outputs."""
    def validateaddress(self, address: str) -> ValidatedAddress:
        """Return information about the given bitcoin address."""
    def verifychain(self, checklevel: int | None = ..., nblocks: int | None = ...) -> bool:
        """Check the newest blocks on disk."""
    def verifymessage(self, address: str, signature: str, message: str) -> bool:
        """Whether a signature of a message is by the key of an address."""
    def verifytxoutproof(self, proof: str) -> list[str]:
        """The transactions that a proof proves; none when it proves nothing. Its block must be in the active chain."""
    def verifyutreexoproof(self, proof: str) -> Verdict:
        """Verify a proof of coins against this node's roots after the block that it names. The node has to run with
        -utreexoindex or -utreexo-csn.
        """
    def verifyutxochaintipinclusionproof(self, proof: str) -> bool:
        """Verify a proof in utreexod's form, which has to be about the tip. The node has to run with -utreexoindex or
        -utreexo-csn.
        """
    def waitforblock(self, blockhash: str, timeout: int | None = ...) -> Tip:
        """Wait until the tip is a certain block, then tell it. Tells the current one when time is up."""
    def waitforblockheight(self, height: int, timeout: int | None = ...) -> Tip:
        """Wait until the chain has at least a certain height, then tell its tip. Tells the current one when time is up."""
    def waitfornewblock(self, timeout: int | None = ..., current_tip: str | None = ...) -> Tip:
        """Wait until the tip changes, then tell it. Tells the current one when time is up."""
    def walletcreatefundedpsbt(self, inputs: Sequence[Mapping[str, Any]] | None, outputs: Any, locktime: int | None = ..., options: Mapping[str, Any] | None = ..., bip32derivs: bool | None = ..., version: int | None = ...) -> FundedPsbt:
        """A PSBT for a transaction with inputs enough, with what the wallet knows of them."""
    def walletdisplayaddress(self, address: str) -> ShownAddress:
        """Have the external signer show an address, so that the user can compare it."""
    def walletlock(self) -> None:
        """Forget the keys of the wallet until its passphrase is given again."""
    def walletpassphrase(self, passphrase: str, timeout: int) -> None:
        """Unlock the wallet for a time. Of an unlocked one the time is set anew."""
    def walletpassphrasechange(self, oldpassphrase: str, newpassphrase: str) -> None:
        """Change the passphrase of the wallet."""
    def walletprocesspsbt(self, psbt: str, sign: bool | None = ..., sighashtype: str | None = ..., bip32derivs: bool | None = ..., finalize: bool | None = ...) -> ProcessedPsbt:
        """A PSBT with what the wallet knows of its inputs and outputs, signed with the wallet's keys.
        Of an encrypted wallet walletpassphrase must have been called before.
        """

class NodeClient(NodeRpc):
    def __init__(
        self, host: str, port: int, user: str = "", password: str = "", *, connections: int = ...
    ) -> None: ...
    @classmethod
    def from_cookie(cls, path: Path, *, port: int, host: str = "127.0.0.1") -> NodeClient: ...
    async def close(self) -> None: ...
    async def __aenter__(self) -> NodeClient: ...
    async def __aexit__(self, *exc: object) -> None: ...
