"""Numbers of the peer-to-peer protocol: versions, services, inventory types, limits."""

from __future__ import annotations

PROTOCOL_VERSION = 70016
MIN_PEER_PROTO_VERSION = 31800
BIP31_VERSION = 60000  # pings carry a nonce above this version
SENDHEADERS_VERSION = 70012
FINAL_ALERT_VERSION = 70012  # up to here nodes know alerts
FEEFILTER_VERSION = 70013
SHORT_IDS_BLOCKS_VERSION = 70014
WTXID_RELAY_VERSION = 70016
FEATURE_VERSION = 70017  # BIP434: told by nodes that negotiate features
CMPCTBLOCKS_VERSION = 2  # BIP152 with wtxids
INVALID_CB_NO_BAN_VERSION = 70015  # from here on peers do not mind compact blocks that turn out to be invalid

NODE_NETWORK = 1 << 0
NODE_BLOOM = 1 << 2
NODE_WITNESS = 1 << 3
NODE_XTHIN = 1 << 4
NODE_COMPACT_FILTERS = 1 << 6
NODE_NETWORK_LIMITED = 1 << 10
NODE_P2P_V2 = 1 << 11
NODE_UTREEXO_ARCHIVE = 1 << 13  # BIP 183, draft: proofs of all blocks, but none of transactions
NODE_UTXO_SET = 1 << 14  # BIP 452, draft
NODE_BLOCK_UNDO = 1 << 21  # the draft leaves it open: that of its reference implementation

SPENT_VERSION = 0  # of the form in which spent coins are told

SERVICE_NAMES = {
    NODE_NETWORK: "NETWORK",
    NODE_BLOOM: "BLOOM",
    NODE_WITNESS: "WITNESS",
    NODE_COMPACT_FILTERS: "COMPACT_FILTERS",
    NODE_NETWORK_LIMITED: "NETWORK_LIMITED",
    NODE_P2P_V2: "P2P_V2",
}

OWN_SERVICE_NAMES = {
    NODE_XTHIN: "XTHIN",
    NODE_BLOCK_UNDO: "BLOCK_UNDO",
    NODE_UTREEXO_ARCHIVE: "UTREEXO_ARCHIVE",
    NODE_UTXO_SET: "UTXO_SET",
}

MSG_TX = 1
MSG_BLOCK = 2
MSG_FILTERED_BLOCK = 3
MSG_CMPCT_BLOCK = 4
MSG_WTX = 5
MSG_XTHINBLOCK = 5  # in get_xthin only, where nothing else stands
MSG_BLOCK_SPENT = 1 << 29 | MSG_BLOCK  # in notfound only: the draft has no word for "not here"
MSG_UTREEXO_PROOF = 1 << 24 | MSG_BLOCK  # in notfound only: the draft has no word for "not here"
MSG_WITNESS_FLAG = 1 << 30
MSG_TYPE_MASK = 0xFFFFFFFF >> 2
MSG_WITNESS_TX = MSG_TX | MSG_WITNESS_FLAG
MSG_WITNESS_BLOCK = MSG_BLOCK | MSG_WITNESS_FLAG

MAX_PROTOCOL_MESSAGE_LENGTH = 4_000_000  # bytes of any payload
MAX_SUBVERSION_LENGTH = 256
MIN_FEATURE_NAME, MAX_FEATURE_NAME = 4, 80
MAX_FEATURE_DATA = 512
FEATURE_UTXO_SETS = b"BIP452"
MAX_ADDR_TO_SEND = 1000
MAX_ADDRV2_SIZE = 512
MAX_INV_SIZE = 50_000
MAX_NOTFOUND_SIZE = 5016  # announcements in flight (5000) and blocks in transit (16) of one peer
MAX_LOCATOR_SIZE = 101
MAX_HEADERS_RESULTS = 2000
MAX_CFHEADERS = 2000
MAX_BLOOM_FILTER_SIZE = 36_000
MAX_BLOOM_HASH_FUNCS = 50
MAX_FILTERADD_SIZE = 520
MAX_BLOCK_INPUTS = 1_000_000 // 41  # without witnesses, of a block that has nothing else
MAX_UTREEXO_HASHES = (51 - 15) * MAX_BLOCK_INPUTS + (1 << 15)  # of a proof in a forest of 51 rows
MAX_UTREEXO_ROOTS = 63
MIN_SPENT_COIN_SIZE = 11  # bytes: index, height code, an empty script, the smallest amount
MAX_BLOCK_TXS = 0xFFFF  # BIP152 indexes have 16 bits


def service_names(services: int, *, offered: int = 0) -> list[str]:
    """The names of the set service bits, lowest first; bits without a name as ``UNKNOWN[2^n]``.

    Bits that have no name in Bitcoin Core have one where they are among those that are ``offered`` here.
    """
    names = SERVICE_NAMES | {bit: name for bit, name in OWN_SERVICE_NAMES.items() if bit & offered}
    bits = (bit for bit in range(64) if services >> bit & 1)
    return [names.get(1 << bit, f"UNKNOWN[2^{bit}]") for bit in bits]
