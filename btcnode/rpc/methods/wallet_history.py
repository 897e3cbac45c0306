"""The transactions of a wallet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict, cast

from btcnode.errors import DecodeError, StorageError
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.merkle_proof import read_places
from btcnode.primitives.tx import Tx
from btcnode.rpc.declare import MAY_HOLD_EQUALS, Coins, Elided, Hex, Named, Time, rpc
from btcnode.rpc.decode import InputJson, OutputJson, TxHead, tx_json
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Whole
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.lookup import fork_height, is_active, parse_hash, parse_hex
from btcnode.rpc.methods.wallet_coins import NONE, OLD_WATCHONLY, ONE, ImmatureToo, MinConf, parent_texts
from btcnode.rpc.room import make_room
from btcnode.rpc.transactions import MAX_REPLACEABLE_SEQUENCE, decode_transaction
from btcnode.rpc.wallets import (
    LastProcessed,
    book_in_order,
    destination,
    label_from,
    last_processed,
    the_wallet,
    wallet_errors,
    wallets_of,
)
from btcnode.services.loop_turns import each_in_turn
from btcnode.services.parts import NodeParts
from btcnode.wire.messages import MerkleBlock

if TYPE_CHECKING:
    from btcnode.wallet.states import WalletTx
    from btcnode.wallet.wallet import Wallet

NO_TX = "Invalid or non-wallet transaction id"
HISTORY_BYTES = 3_000  # of an entry as JSON while it is made
RECEIVED_BYTES = 500  # of a coin that addresses received
ANY_DEPTH = -100_000_000
TEN = Whole(10)
_CATEGORIES = (
    "send, receive, generate (a coinbase that can be spent), immature (one that cannot be spent yet), orphan (one"
    " whose block left the chain)"
)


class TxNotes(TypedDict):
    """What is told of every transaction."""

    confirmations: Annotated[int, "Confirmations; negative: a block that deep contradicts it"]
    generated: Annotated[NotRequired[bool], "Whether it is a coinbase"]
    trusted: Annotated[NotRequired[bool], "Whether an unconfirmed one is as good as there"]
    blockhash: Annotated[NotRequired[Hex], "Its block"]
    blockheight: Annotated[NotRequired[int], "Height of that"]
    blockindex: Annotated[NotRequired[int], "Its place there"]
    blocktime: Annotated[NotRequired[Time], "Time of the block"]
    txid: Annotated[Hex, "Transaction id"]
    wtxid: Annotated[Hex, "Hash with witness"]
    walletconflicts: Annotated[list[Annotated[Hex, Named("txid"), "Txid"]], "Others of the wallet that spend the same"]
    replaced_by_txid: Annotated[NotRequired[Hex], "The one that took its place"]
    replaces_txid: Annotated[NotRequired[Hex], "The one whose place it took"]
    mempoolconflicts: Annotated[
        list[Annotated[Hex, Named("txid"), "Txid"]], "Others in the mempool that spend the same, or what it depends on"
    ]
    to: Annotated[NotRequired[str], "Who it is for, as noted"]
    time: Annotated[Time, "Its time"]
    timereceived: Annotated[Time, "When it became known"]
    comment: Annotated[NotRequired[str], "A comment, as noted"]


_Replaceable = TypedDict(
    "_Replaceable",
    {
        "bip125-replaceable": Annotated[
            str, "Whether it signals that it may be replaced (BIP125), or an unconfirmed ancestor: yes, no, unknown"
        ],
    },
)
ParentDescs = Annotated[
    list[Annotated[str, Named("desc"), "A descriptor"]], "Descriptors that make its script (received only)"
]


class _Where(TypedDict):
    address: Annotated[NotRequired[str], "Its address"]
    category: Annotated[str, f"What it is: {_CATEGORIES}"]
    amount: Annotated[Coins, "Its value; negative where it was sent"]


class _Label(TypedDict):
    label: Annotated[NotRequired[str], "Label of its address"]


class _Place(TypedDict):
    vout: Annotated[int, "Its number"]
    fee: Annotated[NotRequired[Coins], "The transaction's fee, negative (sent only)"]


class TxMoney(_Where, _Label, _Place):
    """An output of a transaction, sent or received."""


class TxEnd(TypedDict):
    """The end of an entry."""

    parent_descs: NotRequired[ParentDescs]
    abandoned: Annotated[bool, "Whether the transaction was given up"]


class HistoryEntry(TxMoney, TxNotes, _Replaceable, TxEnd):
    """An output in the wallet's history."""


class EntrySince(_Where, _Place, TxNotes, _Replaceable, TxEnd, _Label):
    """An output in the wallet's history since a block."""


class TxDetail(TxMoney):
    """An output of one transaction."""

    abandoned: Annotated[bool, "Whether the transaction was given up"]
    parent_descs: NotRequired[ParentDescs]


def _tx_notes(node: NodeParts, wallet: Wallet, entry: WalletTx) -> dict[str, Any]:
    from btcnode.wallet.states import Confirmed

    ledger, state = wallet.ledger, entry.state
    depth = ledger.depth(entry)
    found: dict[str, Any] = {"confirmations": depth}
    if entry.is_coinbase:
        found["generated"] = True
    if type(state) is Confirmed:
        index = node.chain.tree.find(BlockHash(state.block_hash))
        found |= {
            "blockhash": to_display(state.block_hash),
            "blockheight": state.height,
            "blockindex": state.position,
            "blocktime": node.chain.tree.time(index) if index >= 0 else 0,
        }
    else:
        found["trusted"] = wallet.coins.is_trusted(entry)
    found |= {
        "txid": to_display(entry.txid),
        "wtxid": to_display(entry.tx.wtxid),
        "walletconflicts": [to_display(txid) for txid in ledger.conflicts(entry)],
        "mempoolconflicts": [to_display(txid) for txid in sorted(entry.pool_conflicts)],
        "time": entry.time,
        "timereceived": entry.received,
        "bip125-replaceable": _replaceable(node, entry.tx) if depth <= 0 else "no",
    }
    return found | dict(sorted(entry.notes.items()))  # Core keeps them by name


def _signals(tx: Tx) -> bool:
    return any(sequence <= MAX_REPLACEABLE_SEQUENCE for sequence in tx.sequences)


def _replaceable(node: NodeParts, tx: Tx) -> str:
    if _signals(tx):
        return "yes"
    entry = node.mempool.get(tx.txid)
    if entry is None:
        return "unknown"
    return "yes" if any(_signals(other.tx) for other in node.mempool.ancestors(entry)) else "no"


@dataclass(slots=True)
class _Lister:
    """Makes entries of the history; ``texts`` keeps descriptors that were written."""

    node: NodeParts
    wallet: Wallet
    label: str | None = None  # only what was received with this label
    change_too: bool = False
    notes_too: bool = True
    texts: dict[bytes, str] = field(default_factory=dict)

    def entries(self, entry: WalletTx, min_depth: int = 0) -> list[dict[str, Any]]:
        """The outputs of a transaction that were sent or received (Core's ListTransactions)."""
        wallet, ledger = self.wallet, self.wallet.ledger
        debit, depth = ledger.debit(entry.tx), ledger.depth(entry)
        sent, received = [], []
        for vout, txout in enumerate(entry.tx.txouts):
            script, value = txout_script(txout), txout_value(txout)
            mine = ledger.is_mine(script)
            if (debit and not self.change_too and wallet.is_change(script)) or (not debit and not mine):
                continue
            if debit and self.label is None:
                sent.append(self._sent(entry, vout, script, value, debit))
            if mine and depth >= min_depth:
                row = self._received(entry, vout, script, value, depth)
                if row is not None:
                    received.append(row)
        return sent + received

    def _sent(self, entry: WalletTx, vout: int, script: bytes, value: int, debit: int) -> dict[str, Any]:
        row = self._address(script)
        row |= {"category": "send", "amount": amount(-value)}
        known = self.wallet.book.find(script)
        if known is not None:
            row["label"] = known.label
        row |= {"vout": vout, "fee": amount(entry.value_out - debit)}
        return row | self._notes(entry) | {"abandoned": entry.is_abandoned}

    def _received(self, entry: WalletTx, vout: int, script: bytes, value: int, depth: int) -> dict[str, Any] | None:
        known = self.wallet.book.find(script)
        label = known.label if known is not None else ""
        if self.label is not None and label != self.label:
            return None
        row = self._address(script)
        row["parent_descs"] = parent_texts(self.wallet, script, self.texts)
        category = "receive"
        if entry.is_coinbase:
            category = "immature" if self.wallet.ledger.is_immature(entry) else "generate"
            category = "orphan" if depth < 1 else category
        row |= {"category": category, "amount": amount(value)}
        if known is not None:
            row["label"] = label
        return row | {"vout": vout, "abandoned": entry.is_abandoned} | self._notes(entry)

    def _address(self, script: bytes) -> dict[str, Any]:
        address = self.wallet.address(script)
        return {} if address is None else {"address": address}

    def _notes(self, entry: WalletTx) -> dict[str, Any]:
        return _tx_notes(self.node, self.wallet, entry) if self.notes_too else {}


@rpc("wallet", examples=((), ("*", 20, 100)), heavy=True)
async def listtransactions(
    node: NodeParts,
    label: Annotated[str | None, 'Only what was received with this label; "*": everything', MAY_HOLD_EQUALS] = None,
    count: Annotated[Whole, "How many entries at most"] = TEN,
    skip: Annotated[Whole, "How many of the newest to leave out"] = NONE,
    include_watchonly: Annotated[bool, OLD_WATCHONLY] = False,
) -> list[HistoryEntry]:
    """The newest entries of the wallet's history, oldest first. A transaction has one for each output that counts."""
    wallet = the_wallet(node)
    wanted: str | None = None
    if label is not None and label != "*":
        wanted = label_from(label)
        if not wanted:
            why = 'Label argument must be a valid label name or "*".'
            raise RpcError(RpcCode.INVALID_PARAMETER, why)
    size, start = count.read(), skip.read()
    if size < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Negative count")
    if start < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Negative from")
    await make_room(min(start + size, len(wallet.ledger.transactions)) * HISTORY_BYTES)
    lister, found = _Lister(node, wallet, wanted), list[dict[str, Any]]()
    async for entry in each_in_turn(reversed(wallet.ledger.in_order())):
        found += lister.entries(entry)
        if len(found) >= start + size:
            break
    return cast("list[HistoryEntry]", found[start : start + size][::-1])


class SinceBlock(TypedDict):
    """The history since a block."""

    transactions: Annotated[list[EntrySince], "Entries"]
    removed: Annotated[
        NotRequired[list[EntrySince]], "Entries of transactions in blocks that the chain has left since", Elided("")
    ]
    lastblock: Annotated[Hex, "The block to ask from next time"]


@rpc("wallet", examples=((), ("000000000000000bacf66f7497b7dc45ef753ee9a7d38571037cdb1a57f663ad", 6)))
async def listsinceblock(
    node: NodeParts,
    blockhash: Annotated[str | None, "The block; without one everything"] = None,
    target_confirmations: Annotated[Whole, "lastblock is the block with so many confirmations"] = ONE,
    include_watchonly: Annotated[bool, OLD_WATCHONLY] = False,
    include_removed: Annotated[bool, "Show what was in blocks that the chain has left since"] = True,
    include_change: Annotated[bool, "Show change, too"] = False,
    label: Annotated[str | None, "Only what was received with this label", MAY_HOLD_EQUALS] = None,
) -> SinceBlock:
    """What happened in the wallet since a block; where the chain has left that one, since they parted."""
    wallet = the_wallet(node)
    ledger, tree = wallet.ledger, node.chain.tree
    index = fork = -1
    if blockhash:
        index = tree.find(BlockHash(parse_hash(blockhash, "blockhash")))
        if index < 0:
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Block not found")
        fork = fork_height(node, index)
    target = target_confirmations.read()
    if target < 1:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter")
    lister = _Lister(node, wallet, label_from(label) if label is not None else None, include_change)
    depth = ledger.tip_height + 1 - fork if index >= 0 else -1
    await make_room(len(ledger.transactions) * HISTORY_BYTES if depth == -1 else 0)
    found: list[dict[str, Any]] = []
    async for entry in each_in_turn(ledger.in_order()):
        if depth == -1 or abs(ledger.depth(entry)) < depth:
            found += lister.entries(entry)
    removed: list[dict[str, Any]] = []
    while include_removed and index >= 0 and tree.height(index) > fork:
        async for txid in each_in_turn(await _txids(node, index)):
            known = ledger.transactions.get(txid)
            if known is not None:
                removed += lister.entries(known, ANY_DEPTH)
        index = tree.prev(index)
    height = ledger.tip_height + 1 - min(target, ledger.tip_height + 1)
    last = tree.ancestor(tree.find(BlockHash(ledger.tip_hash)), height)
    result: dict[str, Any] = {"transactions": found}
    if include_removed:
        result["removed"] = removed
    result["lastblock"] = to_display(tree.hash(last))
    return cast(SinceBlock, result)


async def _txids(node: NodeParts, index: int) -> Iterable[bytes]:
    try:
        return parse_block(await node.chain.read_block(index)).txids
    except (StorageError, DecodeError):
        raise RpcError(RpcCode.INTERNAL_ERROR, "Can't read block from disk") from None


class TxSum(TypedDict):
    """What a transaction comes to."""

    amount: Annotated[Coins, "What the wallet has more, or less, without the fee"]
    fee: Annotated[NotRequired[Coins], "The fee, negative (sent only)"]


class WalletOutput(OutputJson):
    """An output of a transaction of the wallet."""

    ischange: Annotated[NotRequired[bool], "True for change"]


class WalletTxJson(TxHead):
    """A transaction of the wallet as JSON."""

    vin: Annotated[list[InputJson], "Inputs"]
    vout: Annotated[list[WalletOutput], "Outputs"]


class TxWhole(TypedDict):
    """A transaction in detail."""

    parent_descs: NotRequired[ParentDescs]  # which nobody gives; Core declares it, too
    details: Annotated[list[TxDetail], "Its outputs that count"]
    hex: Annotated[Hex, "Its bytes"]
    decoded: Annotated[NotRequired[WalletTxJson], "The same as JSON"]
    lastprocessedblock: LastProcessed


class WalletTransaction(TxSum, TxNotes, _Replaceable, TxWhole):
    """A transaction of the wallet."""


@rpc("wallet", examples=(("1075db55d416d3ca199f55b6084e2115b9345e16c5cf302fc80e9d5fbf5d48d",),))
def gettransaction(
    node: NodeParts,
    txid: Annotated[str, "Its id"],
    include_watchonly: Annotated[bool, OLD_WATCHONLY] = False,
    verbose: Annotated[bool, "Show the whole transaction as JSON, too"] = False,
) -> WalletTransaction:
    """A transaction of the wallet."""
    wallet = the_wallet(node)
    ledger = wallet.ledger
    entry = ledger.transactions.get(parse_hash(txid, "txid"))
    if entry is None:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, NO_TX)
    credit = 0 if ledger.is_immature(entry) else ledger.credit(entry.tx)
    debit, from_me = ledger.debit(entry.tx), ledger.is_from_me(entry.tx)
    fee = entry.value_out - debit if from_me else 0
    result: dict[str, Any] = {"amount": amount(credit - debit - fee)}
    if from_me:
        result["fee"] = amount(fee)
    result |= _tx_notes(node, wallet, entry)
    result["details"] = _Lister(node, wallet, notes_too=False).entries(entry)
    result["hex"] = entry.tx.raw.hex()
    if verbose:
        decoded = cast(WalletTxJson, tx_json(entry.tx, node.params))
        for output, txout in zip(decoded["vout"], entry.tx.txouts, strict=True):
            if wallet.is_change(txout_script(txout)):
                output["ischange"] = True
        result["decoded"] = decoded
    result["lastprocessedblock"] = last_processed(wallet)
    return cast(WalletTransaction, result)


@rpc("wallet", examples=(("1075db55d416d3ca199f55b6084e2115b9345e16c5cf302fc80e9d5fbf5d48d",),))
async def abandontransaction(node: NodeParts, txid: Annotated[Hex, "Its id"]) -> None:
    """Give up a transaction that is in no block and not in the mempool, and what depends on it: its coins are free."""
    wallet, wanted = the_wallet(node), parse_hash(txid, "txid")
    async with wallet.turn:  # none that is being offered to the mempool at the moment
        entry = wallet.ledger.transactions.get(wanted)
        if entry is None:
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, NO_TX)
        if not wallet.ledger.abandon(entry):
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Transaction not eligible for abandonment")
        with wallet_errors():
            await wallets_of(node).disk.save(wallet)


@rpc("wallet", examples=(("rawtransaction", "txoutproof"),))
async def importprunedfunds(
    node: NodeParts,
    rawtransaction: Annotated[Hex, "A transaction that pays to the wallet"],
    txoutproof: Annotated[Hex, "The proof that it is in a block (gettxoutproof)"],
) -> None:
    """Enter a transaction without a rescan, where its block is not here any more. What spends it is not looked for."""
    from btcnode.wallet.states import Confirmed

    wallet = the_wallet(node)
    tx = _decoded(rawtransaction)
    header, txids = _proven(txoutproof)
    index = node.chain.tree.find(BlockHash(header_hash(header)))
    if index < 0 or not is_active(node, index):
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Block not found in chain")
    if tx.txid not in txids:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Transaction given doesn't exist in proof")
    if not wallet.ledger.pays_me(tx):
        why = "No addresses in wallet correspond to included transaction"
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
    height = node.chain.tree.height(index)
    wallet.ledger.add(tx, Confirmed(header_hash(header), height, txids[tx.txid]), wallet.now())
    with wallet_errors():
        await wallets_of(node).disk.save(wallet)


def _decoded(text: str) -> Tx:
    try:
        return decode_transaction(text)
    except RpcError:
        why = "TX decode failed. Make sure the tx has at least one input."
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, why) from None


def _proven(proof: str) -> tuple[bytes, dict[bytes, int]]:
    """The header of a proof, and places in the block by txid; raises RpcError."""
    wrong = RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Something wrong with merkleblock")
    try:
        message = MerkleBlock.decode(parse_hex(proof, "proof"))
    except DecodeError:
        raise RpcError(RpcCode.MISC_ERROR, "SpanReader::read(): end of data: iostream error") from None
    try:
        root, places = read_places(message.total_txs, message.hashes, message.flags)
    except DecodeError:
        raise wrong from None
    if root != message.header[36:68]:
        raise wrong
    return message.header[:HEADER_SIZE], places


@rpc("wallet", examples=(("a8d0c0184dde994a09ec054286f1ce581bebf46446a512166eae7628734ea0a5",),))
async def removeprunedfunds(node: NodeParts, txid: Annotated[Hex, "Its id"]) -> None:
    """Forget a transaction of the wallet: what importprunedfunds has done."""
    wallet = the_wallet(node)
    found = parse_hash(txid, "txid")
    if found not in wallet.ledger.transactions:
        raise RpcError(RpcCode.WALLET_ERROR, f"Transaction {to_display(found)} does not belong to this wallet")
    wallet.ledger.remove([found])
    with wallet_errors():
        await wallets_of(node).disk.save(wallet)


@dataclass(slots=True)
class _Tally:
    value: int = 0
    depth: int | None = None
    txids: list[bytes] = field(default_factory=list)

    def add(self, value: int, depth: int | None, txid: bytes | None = None) -> None:
        self.value += value
        if depth is not None:
            self.depth = depth if self.depth is None else min(self.depth, depth)
        if txid is not None:
            self.txids.append(txid)


async def _tally(wallet: Wallet, min_depth: int, *, immature_too: bool) -> dict[bytes, _Tally]:
    """By script what the wallet's addresses received."""
    ledger, found = wallet.ledger, dict[bytes, _Tally]()
    async for coin in each_in_turn(list(ledger.coins.values())):
        entry = coin.entry
        depth = ledger.depth(entry)
        if depth < min_depth or (entry.is_coinbase and depth < 1) or wallet.address(coin.script) is None:
            continue
        if not ledger.is_immature(entry) or immature_too:
            found.setdefault(coin.script, _Tally()).add(coin.value, depth, entry.txid)
    return found


class ReceivedByAddress(TypedDict):
    """What an address received."""

    address: Annotated[str, "The address"]
    amount: Annotated[Coins, "All that it received"]
    confirmations: Annotated[int, "Confirmations of the newest transaction"]
    label: Annotated[str, "Its label"]
    txids: Annotated[list[Annotated[Hex, Named("txid"), "Txid"]], "The transactions"]


@rpc("wallet", examples=((), (6, True)), heavy=True)
async def listreceivedbyaddress(
    node: NodeParts,
    minconf: MinConf = ONE,
    include_empty: Annotated[bool, "Also addresses that received nothing"] = False,
    include_watchonly: Annotated[bool, OLD_WATCHONLY] = False,
    address_filter: Annotated[str | None, "Only this address"] = None,
    include_immature_coinbase: ImmatureToo = False,
) -> list[ReceivedByAddress]:
    """What each address has received."""
    wallet, min_depth = the_wallet(node), minconf.read()
    only: bytes | None = None
    if address_filter:
        try:
            only = destination(address_filter, node.params)
        except RpcError:
            raise RpcError(RpcCode.WALLET_ERROR, "address_filter parameter was invalid") from None
    await make_room(len(wallet.ledger.coins) * RECEIVED_BYTES)
    tally = await _tally(wallet, min_depth, immature_too=include_immature_coinbase)
    rows: list[ReceivedByAddress] = []
    async for script, entry in each_in_turn(await book_in_order(wallet)):
        found = tally.get(script)
        address = wallet.address(script)
        if (only is not None and script != only) or (found is None and not include_empty) or address is None:
            continue
        row = found or _Tally()
        rows.append(
            {
                "address": address,
                "amount": amount(row.value),
                "confirmations": row.depth or 0,
                "label": entry.label or "",
                "txids": [to_display(txid) for txid in sorted(row.txids)],
            }
        )
    return rows


class ReceivedByLabel(TypedDict):
    """What the addresses with a label received."""

    amount: Annotated[Coins, "All that they received"]
    confirmations: Annotated[int, "Confirmations of the newest transaction"]
    label: Annotated[str, "The label"]


@rpc("wallet", examples=((), (6, True)), heavy=True)
async def listreceivedbylabel(
    node: NodeParts,
    minconf: MinConf = ONE,
    include_empty: Annotated[bool, "Also labels whose addresses received nothing"] = False,
    include_watchonly: Annotated[bool, OLD_WATCHONLY] = False,
    include_immature_coinbase: ImmatureToo = False,
) -> list[ReceivedByLabel]:
    """What the addresses of each label have received."""
    wallet = the_wallet(node)
    tally = await _tally(wallet, minconf.read(), immature_too=include_immature_coinbase)
    sums: dict[str, _Tally] = {}
    async for script, entry in each_in_turn(await book_in_order(wallet)):
        found = tally.get(script)
        if found is not None or include_empty:
            row = found or _Tally()
            sums.setdefault(entry.label or "", _Tally()).add(row.value, row.depth)
    return [
        {"amount": amount(row.value), "confirmations": row.depth or 0, "label": label}
        for label, row in sorted(sums.items())
    ]
