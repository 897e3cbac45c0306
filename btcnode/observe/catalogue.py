"""Every metric of a node, declared once: the exporter fills them, docs/metrics.md and the dashboards name them."""

from __future__ import annotations

from btcnode.observe.metrics import Kind, Metric

_DECLARED: list[Metric] = []


def _declared(kind: Kind, name: str, text: str, *labels: str) -> Metric:
    metric = Metric(name, kind, text, labels)
    _DECLARED.append(metric)
    return metric


def _counter(name: str, text: str, *labels: str) -> Metric:
    return _declared(Kind.COUNTER, name, text, *labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return _declared(Kind.GAUGE, name, text, *labels)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return _declared(Kind.HISTOGRAM, name, text, *labels)


SYNC_BLOCKS = _counter("sync_blocks_processed_total", "Blocks connected")
SYNC_TRANSACTIONS = _counter("sync_transactions_processed_total", "Transactions of connected blocks")
SYNC_INPUTS = _counter("sync_inputs_processed_total", "Inputs of connected blocks")
SYNC_BLOCK_RATE = _gauge("sync_blocks_per_second", "Blocks connected in the last second")
SYNC_STATE = _gauge("sync_state", "1 for the state that the synchronisation is in, 0 for the others", "state")
SYNC_STATE_CHANGES = _counter("sync_state_entered_total", "How often a state was entered", "state")
SYNC_QUEUES = _gauge("sync_stage_queue_length", "Pieces of work that wait for a stage", "stage")
SYNC_QUEUE_BYTES = _gauge("sync_validation_queue_bytes", "Bytes of blocks that are here and not judged")
SYNC_BUSY = _gauge("sync_stage_busy_fraction", "Share of the last second that a stage worked", "stage")
SYNC_WORKERS = _gauge("sync_stage_workers", "Threads or processes that do the work of a stage", "stage")
SYNC_SENT = _counter("sync_requests_sent_total", "Requests to peers", "type")
SYNC_SUCCESS = _counter("sync_requests_success_total", "Requests that were answered", "type")
SYNC_FAILED = _counter("sync_requests_failed_total", "Requests that were not answered, or wrongly", "type", "reason")
SYNC_LATENCY = _histogram("sync_request_latency_seconds", "From a request to its answer", "type")
SYNC_ACTIVE_PEERS = _gauge("sync_active_peers", "Peers that blocks are fetched from")
SYNC_PEER_SCORE = _histogram("sync_peer_score", "Scores of the peers that are connected now, 0 to 100")
SYNC_PEER_RATE = _histogram("sync_peer_fetch_rate", "Blocks a second that each known peer is good for")
SYNC_BLOCKS_LIMIT = _gauge("sync_blocks_in_flight_limit", "Blocks in flight at one peer")
SYNC_PEERS_LIMIT = _gauge("sync_peers_limit", "Peers that may be fetched from at a time")
CACHE_LOOKUPS = _counter("sync_cache_lookups_total", "Coins looked up")
CACHE_MISSES = _counter("sync_cache_misses_total", "Coins that the database was asked for")
CACHE_BYTES = _gauge("sync_cache_bytes", "Bytes of the coin cache")
CACHE_BUDGET = _gauge("sync_cache_budget_bytes", "Bytes that the coin cache may take")
PREFETCH = _counter(
    "sync_prefetch_coins_total",
    "Coins that blocks will spend: in memory already (cached), asked for ahead (read), not for want of room (skipped)",
    "outcome",
)
FLUSHES = _counter("sync_flushes_total", "Flushes of the coin cache")
FLUSH_SECONDS = _counter("sync_flush_seconds_total", "Seconds that flushes have taken")
LAST_FLUSH = _gauge("sync_last_flush_seconds", "Seconds that the last flush took")
WORKERS = _counter(
    "workers_events_total", "Worker processes that were replaced or did not start, pieces of work done again", "event"
)
SHADOW_BLOCKS = _counter("shadow_blocks_compared_total", "Blocks whose scripts the second engine has judged too")
SHADOW_INPUTS = _counter("shadow_inputs_compared_total", "Inputs that the second engine has judged too")
SHADOW_DISAGREEMENTS = _counter("shadow_disagreements_total", "Inputs that both engines judged differently")

INFO = _gauge("node_info", "1; the labels tell version and network", "version", "network")
UPTIME = _gauge("node_uptime_seconds", "Seconds since the start")
HEIGHT = _gauge("node_height", "Height of the active chain")
HEADERS = _gauge("node_headers", "Height of the best header")
TIP_TIME = _gauge("node_tip_time_seconds", "Time in the header of the tip, Unix seconds")
DOWNLOADING = _gauge("node_initial_block_download", "1 while the node is far behind")
PEERS = _gauge("node_peers", "Connected peers", "direction", "network")
WARNINGS = _gauge("node_warnings", "Warnings that stand, as in getnetworkinfo")
INDEX_HEIGHT = _gauge("node_index_height", "Height that an optional index has", "index")
INDEX_REBUILDING = _gauge("node_index_rebuilding", "1 while an optional index that was damaged is built anew", "index")
DISK_BYTES = _gauge("node_disk_bytes", "Bytes on disk: blocks with undo data, coins, optional indexes", "kind")
DISK_FREE = _gauge("node_disk_free_bytes", "Bytes that are free on the disk of blocks or of coins, the one with less")
DISK_SIZE = _gauge("node_disk_size_bytes", "Bytes of that disk in all")
REORGANISATIONS = _counter("node_reorganisations_total", "How often the chain has left blocks")
REORGANISATION_DEPTH = _histogram("node_reorganisation_depth_blocks", "Blocks left at a time")
BLOCKS_REJECTED = _counter("node_blocks_rejected_total", "Blocks that broke a rule", "reason")

POOL_TRANSACTIONS = _gauge("mempool_transactions", "Transactions in the mempool")
POOL_VBYTES = _gauge("mempool_vbytes", "Their virtual size")
POOL_BYTES = _gauge("mempool_bytes", "Memory that they take")
POOL_LIMIT = _gauge("mempool_limit_bytes", "Memory that they may take")
POOL_FEES = _gauge("mempool_fees_satoshi", "Their fees")
POOL_MINIMUM = _gauge("mempool_min_fee_satoshi_per_kvb", "Least fee rate that gets in")
POOL_ACCEPTED = _counter("mempool_accepted_total", "Transactions taken in")
POOL_REJECTED = _counter("mempool_rejected_total", "Transactions not taken in", "reason")
POOL_EVICTED = _counter("mempool_evicted_total", "Transactions that left for want of room")
POOL_SCRIPTS = _counter("mempool_scripts_verified_total", "Transactions whose scripts were verified")
POOL_VERIFYING = _gauge("mempool_in_verification", "Transactions whose scripts are being verified")
POOL_REEVALUATED = _counter("mempool_reevaluated_total", "Transactions judged again at another tip")

WIRE_BYTES = _counter("p2p_wire_bytes_total", "Bytes of all sockets, as in getnettotals", "direction")
MESSAGE_BYTES = _counter("p2p_bytes_total", "Bytes of messages, their headers included", "direction", "type")
MESSAGES = _counter("p2p_messages_total", "Messages", "direction", "type")
CLASS_MESSAGES = _counter(
    "p2p_class_messages_total",
    "Messages to peers with limits by class: 0 is what cannot wait, the highest what is dropped first",
    "outcome",
    "class",
)
CONNECTIONS = _counter("p2p_connections_total", "Connections that came to stand", "direction", "network")
MISBEHAVIOUR = _counter("p2p_misbehaviour_total", "Faults of peers", "reason")
BANS = _gauge("p2p_bans", "Ranges of addresses that the user has banned")
DISCOURAGED = _gauge("p2p_discouraged_addresses", "Addresses that misbehaved and are kept away")
TX_RELAY = _histogram(
    "p2p_tx_relay_seconds", "From a transaction's arrival to its first announcement; one in sixteen is timed"
)
BLOCK_RELAY = _histogram("p2p_block_relay_seconds", "From a block's last byte to its announcement as the tip")
BLOCK_AGE = _histogram("p2p_block_age_seconds", "Age of new tips, by the time in their headers")
SEND_RATE = _gauge("p2p_send_rate", "Messages of a class a second, of all peers with limits together")
SEND_QUEUE = _gauge("p2p_send_queue_bytes", "Bytes that wait to be sent")
BANDWIDTH = _histogram("p2p_peer_bandwidth_bytes", "Bytes a second that the line of each peer takes, where measured")

RPC_SECONDS = _histogram("rpc_call_seconds", "Calls that have ended, with errors or without", "method")
RPC_FAILED = _counter("rpc_failed_total", "Calls that were answered with an error", "method")
RPC_ACTIVE = _gauge("rpc_active_calls", "Calls in work")

LOOP_LAG = _histogram("loop_lag_seconds", "How late the loop comes to its ticks")
MEMORY = _gauge("process_memory_bytes", "Resident memory of the node and its workers", "kind")
CPU = _counter("process_cpu_seconds_total", "Processor time of the node, without its workers")
THREADS = _gauge("process_threads", "Threads of the node")
TASKS = _gauge("process_tasks", "Tasks of the loop")
DESCRIPTORS = _gauge("process_descriptors", "Files and sockets that are open")
DESCRIPTORS_LIMIT = _gauge("process_descriptors_limit", "Files and sockets that may be open")
GC_PAUSES = _histogram("python_gc_pause_seconds", "Pauses of the garbage collector, by generation", "generation")
GC_COLLECTED = _counter("python_gc_collected_total", "Objects that the garbage collector has freed", "generation")
PYTHON_BLOCKS = _gauge("python_allocated_blocks", "Blocks of memory that Python's objects have")

CATALOGUE = tuple(_DECLARED)
"""All of them, in the order in which they are told."""
