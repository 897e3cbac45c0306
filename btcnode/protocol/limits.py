"""Every maximum and time-out of the protocol, with the memory that each maximum stands for.

Names and values follow Bitcoin Core 31 unless the line says otherwise. Times are seconds, sizes bytes. What the
messages themselves are limited to stands in ``wire/constants.py``.
"""

from __future__ import annotations

# -- handshake and keep-alive ------------------------------------------------------------------------------------

HANDSHAKE_TIMEOUT = 60.0  # Core's -peertimeout
PING_INTERVAL = 120.0
PROBE_AFTER = 60.0  # ours: of silence of a peer that owes us something: a ping without waiting for its time
PROBE_RECHECK = 10.0  # ours: whether a peer that has been silent as long owes us something by now
HEARTBEAT_MISSED = 180.0  # ours: of silence, ...
PROBE_UNANSWERED = 60.0  # ... and for so long no answer to a ping: the peer is degraded
FLOOD_PAUSE = 5.0  # ours: seconds for which nobody reads from a peer whose pings or announcements are beyond the rate
WORK_RATE = 0.005  # ours: seconds of processor time a second that a peer may cost us with what we did not ask for ...
WORK_BURST = 0.5  # ... and so many at once, while others wait; ten times as much while nobody does
WORK_OF_TX = 0.001  # given back for a transaction that was accepted
PING_RATE = 500.0  # ours: pings a second that are no flood; more are answered, and count against the peer
PING_BURST = 5000.0
MAX_OWED_PONGS = 100  # x 300 B for each peer; a flood of pings gets no more answers
TIMEOUT_INTERVAL = 20 * 60.0  # an unanswered ping, or nothing received at all
MAX_PENDING_NONCES = 64  # nonces of outbound connections in handshake: 64 x 40 B; more than there are outbound slots
AVG_FEEFILTER_INTERVAL = 600.0
MAX_FEEFILTER_CHANGE_DELAY = 300.0

# -- headers -----------------------------------------------------------------------------------------------------

HEADERS_RESPONSE_TIME = 120.0
HEADERS_DOWNLOAD_TIMEOUT_BASE = 15 * 60.0
HEADERS_DOWNLOAD_TIMEOUT_PER_HEADER = 0.001
NEAR_TODAY = 24 * 3600  # headers this recent: every peer is asked, not only one
ANTI_DOS_WORK_BUFFER = 144  # blocks of the tip's difficulty by which a new header chain may have less work than the tip
CHAIN_SYNC_TIMEOUT = 20 * 60.0
MAX_OUTBOUND_PEERS_TO_PROTECT = 4
# A low-work synchronisation holds at most 1.6 MB (chain/presync.py), one for each of 125 peers: 200 MB.

# -- block download ----------------------------------------------------------------------------------------------

BLOCK_DOWNLOAD_WINDOW = 1024
MAX_BLOCKS_IN_TRANSIT_PER_PEER = 16
REQUEST_BATCH = 4  # ours: requests are made for at least this many at a time, one walk over the window for all
BLOCK_STALLING_TIMEOUT_DEFAULT = 2
BLOCK_STALLING_TIMEOUT_MAX = 64
BLOCK_STALLING_DECAY = 0.85  # factor on the time-out for every block connected
BLOCK_DOWNLOAD_TIMEOUT_BASE = 1.0  # in target spacings
BLOCK_DOWNLOAD_TIMEOUT_PER_PEER = 0.5
NODE_NETWORK_LIMITED_MIN_BLOCKS = 288
NODE_NETWORK_LIMITED_ALLOW_CONN_BLOCKS = 144
MIN_BLOCKS_TO_KEEP = 288  # unrequested blocks further above the tip are dropped
DIRECT_FETCH_SPACINGS = 20  # the tip is "close to today" within this many target spacings
IDLE_BLOCK_MOVE_TIMEOUT = 5.0  # ours: in initial download a block this late is asked of an idle peer
TIP_BLOCK_MOVE_TIMEOUT = 30.0  # ours: outside initial download a block this late is asked of another peer
MAX_MISSING_PER_PEER = 64  # ours: blocks that a peer said it has not (notfound); 64 x 60 B
MISSING_EXPIRY = 600.0  # after which such a block may be asked of the same peer again
MAX_LATE_PER_PEER = 64  # ours: blocks asked of another peer meanwhile, still accepted as requested; 64 x 60 B
LATE_EXPIRY = 120.0  # after which a late block may be asked of the same peer again

# Adaptive fetching (ours). What arrives is bounded by validation (below), whatever the number of requests.
MAX_REQUESTS = 512  # blocks asked for and not there, all peers together
FETCH_BLOCKS_MIN = 8  # blocks in flight for each peer; a full batch of outcomes is as many
FETCH_BLOCKS_START = 32
FETCH_BLOCKS_MAX = 64
FETCH_BLOCKS_STEP = 8
FETCH_PEERS_MIN = 4
FETCH_PEERS_START = 8
FETCH_PEERS_MAX = 16
FETCH_GROW_SUCCESS = 0.9
FETCH_GROW_LATENCY = 1.0
FETCH_SHRINK_SUCCESS = 0.7
FETCH_HORIZON = 1.0  # seconds of a peer's measured pace that are asked of it at a time
FETCH_UNKNOWN_RATE = 200.0  # blocks connected a second, before that is known
FETCH_UNPROVEN_LATENCY = 1.0  # what is expected of a peer that brought nothing yet
FETCH_PATIENCE_LATENCIES = 3.0  # a block is late after this many latencies of the fastest peer, but not before
FETCH_PATIENCE_MIN = 0.3
FETCH_PATIENCE_UNPROVEN = 0.5
FETCH_OVERDRAFT = 8  # blocks above its limit that a peer gets when they are urgent
FETCH_MOVES_PER_TICK = 32  # late blocks of one peer that are asked of others at a time
FETCH_IDLE = 5.0  # an active peer with nothing to do for this long makes room
FETCH_REST_BASE = 60.0  # a peer that sent a broken block is left alone, twice as long each time
FETCH_REST_MAX = 3600.0
FETCH_MAX_REMEMBERED = 256
FETCH_STALL_LATENCIES = 10.0  # who holds the tip up is given this many latencies of the substitute ...
FETCH_STALL_MAX = 10.0  # ... but no more than this, and the stalling time at least
FETCH_SILENT_GRACE = 4.0  # the same for who never brought a block but holds nothing up, on top of the stalling time
FETCH_HEAD_UNASKED = 1.0  # a block that is needed next and that nobody was asked for is asked of anybody
CLOCK_GAP = 0.5  # ticks further apart: sockets are read before anybody is judged

# Blocks handed over for validation and not answered yet. A block takes at most 4 MB, so the second figure rules:
# 64 MiB, plus one block for each peer that delivers at that moment, because its reading stops then (SetReceiving).
MAX_BLOCKS_IN_VALIDATION = 128  # new blocks are requested below this number only
MAX_VALIDATION_BYTES = 64 << 20  # above it peers that deliver blocks are not read from until half of it is free
MAX_BLOCK_SOURCES = 4096  # who delivered a block that is not connected yet: 4096 x 150 B = 0.6 MB

# What goes with a block and is asked for beside it (blocks/side_download.py).
SIDE_SILENCE = 10.0  # without any answer, after which others are asked for what a peer owes ...
SIDE_LATE = 30.0  # ... or with one request this old ...
SIDE_PATIENCE = 60.0  # ... and without any answer for so long it is disconnected
# Spent coins (ours), for a full sync with hints. Memory: services/swift_spent.py.
MAX_SPENT_PER_PEER = 64  # requests without an answer
# Utreexo proofs for a node without coins (ours), of up to 4 MB each, in mainnet's blocks about one.
MAX_PROOFS_PER_PEER = 8  # requests without an answer; a bridge of ours lets as many wait
MAX_PROOFS_ASKED = 24  # of all peers together: 96 MB at most
PROOFS_AHEAD = 192  # blocks above the tip whose proofs are kept on the disk
PROOF_MISSING_EXPIRY = 5.0  # after which a bridge that had not come to a block is asked again
MAX_UTREEXO_QUEUE = 8  # requests of one peer that wait, each with bitmaps of up to 114 kB; as the next
MAX_SPENT_QUEUE = 64  # requests of one peer that wait: no more is read from it until half of them are answered

# UTXO sets in chunks of 3.9 MB. Memory: those in flight and those that are written, 6 x 3.9 MB.
MAX_UTXO_CHUNKS = 6  # asked for, or here and not on disk
MAX_LATE_UTXO_CHUNKS = 8  # remembered of one peer that was asked for them
UTXO_TREES_AT_ONCE = 8  # peers asked for the hashes of chunks
UTXO_TREE_PATIENCE = 30.0  # then a peer counts as one without the set ...
UTXO_TREE_AGAIN = 600.0  # ... for so long
UTXO_CHUNK_LATE = 20.0  # then a chunk is asked of a peer that has nothing to do ...
UTXO_CHUNK_PATIENCE = 120.0  # ... and in the end of any other, and the peer is left alone for a while
UTXO_LOOK_INTERVAL = 1.0
UTXO_VOICES = 2  # peers that have to tell the same hashes where their root is not known
MAX_UTXO_LIARS = 1000  # addresses: 1,000 x 150 B
MAX_UTXO_SET_QUEUE = 4  # requests of one peer that wait
MAX_UTXO_SET_MISSES = 64  # requests of one peer for sets that are not here: no answer slows it down

# -- inventory and serving ---------------------------------------------------------------------------------------

MAX_GETDATA_QUEUE = 50_000  # entries waiting for a peer: 50,000 x 36 B = 1.8 MB, twice that while it grows
GETDATA_PAUSE = 1000  # ours: above it nothing more is read from the peer; honest ones ask for less at a time
MAX_GETDATA_PER_TURN = 200  # ours: requests answered in one step, 2 us each; the rest at the peer's next turn
MAX_NOT_FOUND = 1000  # ours: entries of a notfound, unless the requests come to an end before
MAX_GETDATA_BYTES_PER_TURN = 500_000  # ours: bytes after which the peer's next turn is waited for, and its buffer seen
MAX_GETBLOCKS_RESULTS = 500
MAX_BLOCKS_TO_ANNOUNCE = 8
MAX_QUEUED_ANNOUNCEMENTS = 64  # tips waiting for one peer: 64 x 8 B; older ones are dropped, the newest is what counts
STALE_RELAY_AGE_LIMIT = 30 * 24 * 3600
HISTORICAL_BLOCK_AGE = 7 * 24 * 3600
MAX_UPLOAD_TIMEFRAME = 24 * 3600.0
PEER_BLOCK_SLACK = 2  # blocks by which NODE_NETWORK_LIMITED peers may be off because of races

# -- transactions: requests --------------------------------------------------------------------------------------

MAX_PEER_TX_REQUEST_IN_FLIGHT = 100  # above it the peer's announcements wait OVERLOADED_PEER_TX_DELAY; no hard limit
MAX_PEER_TX_ANNOUNCEMENTS = 5000  # remembered of one peer: 5000 x about 450 B = 2.3 MB
MAX_TX_ANNOUNCEMENTS = 150_000  # ours: above it nobody adds to more than the equal share; with 125 peers at most
# 150,000 and their shares, 264,000 x about 450 B = 119 MB; honest peers have some hundreds waiting
TXID_RELAY_DELAY = 2.0  # for announcements by txid while there are peers that announce by wtxid
NONPREF_PEER_TX_DELAY = 2.0
OVERLOADED_PEER_TX_DELAY = 2.0
GETDATA_TX_INTERVAL = 60.0  # after which another peer is asked
MAX_GETDATA_TXS = 1000  # requests in one message
TX_INV_RATE = 2_000.0  # ours: announcements a second that are looked at (10 us each); honest peers send 500 at most
TX_INV_BURST = 6_000.0

# -- transactions: orphans and rejects ---------------------------------------------------------------------------

RESERVED_ORPHAN_WEIGHT_PER_PEER = 404_000  # x 125 peers = 50 M weight units, kept as bytes: at most 50 MB
MAX_ORPHANAGE_SCORE = 3000  # announcements, and one for ten inputs: at most 30,000 inputs x about 600 B = 18 MB more
ORPHAN_SCORE_INPUTS = 10
MAX_ORPHAN_RESOLUTIONS = (
    5_000  # ours: parents of a new orphan times peers to be asked for them, its sender first: 10 ms
)
MAX_PACKAGE_CANDIDATES = 100  # ours: children of one parent looked at for a package, the newest
RECENT_REJECTS = 120_000  # remembered at least, at most twice as many; two such filters
RECENT_REJECTS_BITS_LOG2 = 23  # two generations of 1 MiB; 8 positions: 2 x (1 - e^(-8n/m))^8 = 4e-8 false answers
RECENT_REJECTS_HASHES = 8
RECENTLY_CONFIRMED = 48_000  # hashes of blocks remembered at least, at most twice that and a block's: 12 MB
MAX_CMPCTBLOCKS_INFLIGHT_PER_BLOCK = 3  # peers that a block is received from at the same time
MAX_HIGH_BANDWIDTH_PEERS = 3  # peers asked to announce by cmpctblock
MAX_CMPCTBLOCK_DEPTH = 5  # blocks below the tip that are served as compact ones
MAX_BLOCKTXN_DEPTH = 10  # blocks below the tip of which single transactions are served
MAX_PENDING_BLOCKTXN = 2  # ours: requests for transactions of a block that wait for one peer, each up to 0.8 MB; what
# comes above is answered by the whole block
MAX_XTHIN_FILTER_ELEMENTS = 13_000  # ours: of the mempool in a get_xthin, the best: 36 kB at 22 bits, 1 us each
MAX_OUTLINES = 12  # ours: blocks whose compact form is kept: 12 x (6 + 4 B) x transactions, 16,000 at most: 2 MB
MAX_EXTRA_TRANSACTIONS = 100  # rejected and replaced ones kept for compact blocks, each below the next: 10 MB
MAX_EXTRA_TRANSACTION_SIZE = 100_000

# -- transactions: validation ------------------------------------------------------------------------------------

# Handed over for validation and not answered yet; who is above its own limit, or sends while all are above the global
# one, is not read from until half of its own is free. Bytes are those of the objects (tx_intake.memory_of): 2 kB for a
# small transaction, up to 9 MB for one with tiny witness elements. Above twice the global limit, 64 MB, nothing is
# taken at all; one more transaction may be in the hands of the parser.
LARGE_TX = 10_000  # bytes from which a transaction comes alone and is decoded in steps; smaller ones may come together
MAX_PEER_TXS_IN_VALIDATION = 1000
MAX_PEER_TX_BYTES_IN_VALIDATION = 4_000_000
MAX_TXS_IN_VALIDATION = 20_000
MAX_TX_BYTES_IN_VALIDATION = 32_000_000
MAX_TX_WORK_PEERS = 16  # ours: orphans looked at again at the same time, one for each peer

# -- transactions: announcements ---------------------------------------------------------------------------------

INBOUND_INVENTORY_BROADCAST_INTERVAL = 5.0  # mean; one timer for all inbound peers of a network
TX_INVENTORY_REST = 30.0  # seconds after which a peer for which nothing waits may ask for what is in the mempool
OUTBOUND_INVENTORY_BROADCAST_INTERVAL = 2.0  # mean; each peer has its own timer
INVENTORY_BROADCAST_TARGET = 70  # 14 per second in the inbound interval
INVENTORY_BROADCAST_GROWTH = 5  # more for every thousand that wait
INVENTORY_BROADCAST_MAX = 1000
INVENTORY_WORK_MAX = 2000  # ours: entries taken from a queue in one turn, those included that need no announcement
MAX_TX_INVENTORY = 50_000  # ours: entries waiting for one peer: 50,000 x 8 B = 0.4 MB; what they point to (about 120 B)
# is shared by all peers. When it is full the worst of four chosen by chance makes room.
FILTERED_AT_ONCE = 200  # ours: transactions that wait to be matched with a light client's filter; others stay queued
TX_KNOWN_PER_GENERATION = 50_000  # of a filter of two generations of 256 KiB: 0.5 MB for each peer, 64 MB for 125
TX_KNOWN_BITS_LOG2 = 21  # 10 positions: 2 x (1 - e^(-10n/m))^10 = 4e-7 false answers
TX_KNOWN_HASHES = 10
REBROADCAST_INTERVAL_MIN = 600.0
REBROADCAST_INTERVAL_SPREAD = 300.0
REBROADCAST_PER_TICK = 200  # ours: announced again in one tick
FEE_FILTER_SPACING = 1.1  # between the feerates that fee filters are rounded to
MAX_FILTER_FEERATE = 1e7
FEE_FILTER_SMALLEST = 50.0  # satoshi per kvB, half the default relay feerate; the smallest of those above zero

# -- private broadcast -------------------------------------------------------------------------------------------

PRIVATE_BROADCASTS_PER_TX = 3  # connections
MAX_PRIVATE_BROADCAST_CONNECTIONS = 64
PRIVATE_BROADCAST_LIFETIME = 180.0  # of a connection
PRIVATE_BROADCAST_INITIAL_STALE = 300.0  # never confirmed for so long: try again
PRIVATE_BROADCAST_STALE = 60.0  # not seen from the network for so long after the last confirmation: try again
PRIVATE_BROADCAST_RETRY_MIN = 120.0
PRIVATE_BROADCAST_RETRY_SPREAD = 60.0
PRIVATE_BROADCAST_OPEN_INTERVAL = 0.5  # between two attempts to open a connection
MAX_PRIVATE_TRANSACTIONS = 1000  # of the user's; 1000 x about 3 kB = 3 MB
MAX_PRIVATE_SENDINGS = 100  # remembered for one transaction, the oldest forgotten: 100 x 300 B

# -- addresses ---------------------------------------------------------------------------------------------------

MAX_PCT_ADDR_TO_SEND = 23
MAX_ADDR_RATE_PER_SECOND = 0.1
MAX_ADDR_PROCESSING_TOKEN_BUCKET = 1000.0
AVG_ADDRESS_BROADCAST_INTERVAL = 30.0
AVG_LOCAL_ADDRESS_BROADCAST_INTERVAL = 24 * 3600.0
ADDR_FETCH_TIMEOUT = 10 * AVG_ADDRESS_BROADCAST_INTERVAL
ROTATE_ADDR_RELAY_INTERVAL = 24 * 3600
MAX_RELAYED_ADDR_MESSAGE = 10  # messages with more addresses are answers to getaddr: not relayed
ADDR_KNOWN_PER_GENERATION = 2500  # of a filter of two generations of 8 KiB for each peer
ADDRESS_BOOK_SAVE_INTERVAL = 15 * 60.0
ADDR_CACHE_MIN_AGE = 21 * 3600.0  # an answer to getaddr is repeated for 21 to 27 hours
ADDR_CACHE_SPREAD = 6 * 3600.0
MAX_ADDR_CACHES = 16  # one for each (our address, network): 16 x 1000 x 8 B = 128 kB
MAX_LOCAL_ADDRESSES = 32  # 32 x 300 B

# -- connections -------------------------------------------------------------------------------------------------

MAX_OUTBOUND_FULL_RELAY = 8
MAX_BLOCK_RELAY_ONLY = 2
MAX_ADDNODE_CONNECTIONS = 8
MAX_ADDED_NODES = 1024  # remembered by addnode: 1,024 x 300 B; at most 8 are connected at a time
MAX_CONNECTIONS = 125
MAX_CONNECTING = 16  # Connect effects without an answer
CONNECT_INTERVAL = 0.5  # between two automatic attempts
VAIN_SEARCH_PAUSE_MAX = 8.0  # after searches in the book that found nobody; doubles up to this
ADDED_NODE_RETRY_MIN = 2.0  # back-off of --addnode and --connect targets: doubles up to a minute
ADDED_NODE_RETRY_MAX = 60.0
ADDED_NODE_STABLE = 60.0  # a connection that lived this long resets the back-off
FEELER_INTERVAL = 120.0
EXTRA_BLOCK_RELAY_INTERVAL = 300.0
EXTRA_NETWORK_INTERVAL = 300.0
EXTRA_PEER_CHECK_INTERVAL = 45.0
MINIMUM_CONNECT_TIME = 30.0
STALE_CHECK_INTERVAL = 600.0
STALE_TIP_SPACINGS = 3
RECENT_TRY = 600  # an address tried this recently is avoided for the first 30 picks
MAX_PICKS = 100
# Connections to who offers what is needed beside blocks (connections/providers.py, ours).
PROVIDER_SLOTS = 4  # of the automatic ones, so that a book full of such addresses does not fill them all
PROVIDER_LOOK = 60.0  # seconds for which a look through the book counts: some 10 ms for a full one
EXTRA_PROVIDER_INTERVAL = 30.0  # between two attempts beyond the limit, while nobody gives
PROVIDER_TRIAL = 1800.0  # some blocks' time, in which somebody beyond the limit has to give what he says he offers
PROVIDER_FAILED_FOR = 6 * 3600.0  # for which somebody who gave nothing is not preferred
MAX_FRUITLESS = 8  # notfounds in a row for what goes with a block: then a peer does not count as offering it
MAX_FAILED_PROVIDERS = 4096  # x 150 B
DNS_SEEDS_AT_ONCE = 3
DNS_DELAY_FEW = 11.0
DNS_DELAY_MANY = 300.0
DNS_MANY_ADDRESSES = 1000
DNS_ENOUGH_PEERS = 2
MAX_DNS_RESULTS = 32  # addresses taken of one seed's answer
SEED_NODE_INTERVAL = 10.0
SEED_NODE_TIMEOUT = 30  # seconds, then DNS seeds are asked
FIXED_SEEDS_DELAY = 60  # seconds that other sources have
MAX_ANCHORS = 2
MAX_DISCOURAGED = 50_000  # addresses, oldest forgotten first: 50,000 x 145 B = 7.3 MB

# -- log ---------------------------------------------------------------------------------------------------------

LOG_LINES_PER_PEER = 20  # lines above debug that one peer may cause in the interval, then one line says so
LOG_LINES_FROM_PEERS = 200  # the same for all peers together: new connections do not buy new lines
LOG_INTERVAL = 60.0
MAX_LOGGED_TEXT = 200  # characters of anything that a peer chose
