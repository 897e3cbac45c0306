"""One class per command, grouped by theme."""

from btcnode.wire.codec import Message
from btcnode.wire.messages.addresses import Addr, AddrEntry, AddrV2
from btcnode.wire.messages.blocks import BlockMessage, MerkleBlock, TxMessage
from btcnode.wire.messages.bloom import FilterAdd, FilterClear, FilterLoad
from btcnode.wire.messages.compact import BlockTxn, CmpctBlock, GetBlockTxn, PrefilledTx, SendCmpct
from btcnode.wire.messages.control import FeeFilter, GetAddr, Mempool, Ping, PingWithoutNonce, Pong, SendHeaders
from btcnode.wire.messages.filters import CFCheckpt, CFHeaders, CFilter, GetCFCheckpt, GetCFHeaders, GetCFilters
from btcnode.wire.messages.handshake import Feature, FinalAlert, SendAddrV2, SendTxRcncl, Verack, Version, WtxidRelay
from btcnode.wire.messages.headers import GetBlocks, GetHeaders, Headers
from btcnode.wire.messages.inventory import GetData, Inv, InvItem, NotFound
from btcnode.wire.messages.spent_coins import BlockSpent, GetBlockSpent
from btcnode.wire.messages.utreexo import GetUtreexoProof, GetUtreexoRoot, UtreexoProof, UtreexoRoot
from btcnode.wire.messages.utxo_sets import GetUtxoSet, GetUtxoTree, UtxoSetChunk, UtxoTree
from btcnode.wire.messages.xthin import GetXBlockTx, GetXThin, XBlockTx, XThinBlock

__all__ = [
    "Addr", "AddrEntry", "AddrV2", "BlockMessage", "BlockSpent", "BlockTxn", "CFCheckpt", "CFHeaders", "CFilter",
    "CmpctBlock", "Feature", "FeeFilter", "FilterAdd", "FilterClear", "FilterLoad", "FinalAlert", "GetAddr",
    "GetBlockSpent", "GetBlockTxn", "GetBlocks", "GetCFCheckpt", "GetCFHeaders", "GetCFilters", "GetData",
    "GetHeaders", "GetUtreexoProof", "GetUtreexoRoot", "GetUtxoSet", "GetUtxoTree", "GetXBlockTx", "GetXThin",
    "Headers", "Inv", "InvItem", "Mempool", "MerkleBlock", "Message", "NotFound", "Ping", "PingWithoutNonce", "Pong",
    "PrefilledTx", "SendAddrV2", "SendCmpct", "SendHeaders", "SendTxRcncl", "TxMessage", "UtreexoProof", "UtreexoRoot",
    "UtxoSetChunk", "UtxoTree", "Verack", "Version", "WtxidRelay", "XBlockTx", "XThinBlock",
]  # fmt: skip
