"""Transactions and scripts as JSON."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict, cast

from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.sign_transaction import MISSING_AMOUNT, combine_signatures, sign_transaction
from btcnode.errors import StorageError
from btcnode.primitives.amounts import format_amount
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.declare import Coins, Elided, Hex, Like, Named, Time, When, rpc
from btcnode.rpc.decode import SpendingTx, TxJson, tx_json
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items
from btcnode.rpc.jsonvalue import Written
from btcnode.rpc.lookup import is_active, parse_hash, parse_verbosity, parsed_block, spent_by_block
from btcnode.rpc.room import aside
from btcnode.rpc.transactions import (
    NO_INPUT_HINT,
    Inputs,
    IsWitness,
    LockTime,
    Outputs,
    PreviousOutputs,
    Replaceable,
    SighashType,
    TxVersion,
    build_transaction,
    decode_transaction,
    find_transaction,
    find_txouts,
    parse_prevouts,
    parse_secrets,
    parse_sighash,
    tx_hex,
    tx_members,
)
from btcnode.rpc.tx_text import amount_text, fee_of
from btcnode.services.index_readers import IndexedTx
from btcnode.services.lately import parsed_tx_size
from btcnode.services.parts import NodeParts


@rpc(
    "rawtransactions",
    examples=(([{"txid": "myid", "vout": 0}], [{"address": 0.01}]), ([{"txid": "myid", "vout": 0}], [{"data": "00"}])),
    pure=True,
)
def createrawtransaction(
    node: NodeParts,
    inputs: Inputs,
    outputs: Outputs,
    locktime: LockTime = 0,
    replaceable: Replaceable = None,
    version: TxVersion = 2,
) -> Annotated[Hex, "The transaction"]:
    """A transaction without signatures, in hex. It is neither kept nor sent."""
    return build_transaction(inputs, outputs, locktime, replaceable, version, node.params).raw.hex()


@rpc("rawtransactions", examples=(("hexstring",),), pure=True)
def decoderawtransaction(
    node: NodeParts,
    hexstring: Annotated[Hex, "The transaction"],
    iswitness: IsWitness = None,
) -> TxJson:
    """A transaction in hex as JSON."""
    return tx_json(decode_transaction(hexstring, witness=iswitness), node.params)


class InChain(TypedDict):
    """Whether the block that was asked for is in the active chain."""

    in_active_chain: Annotated[NotRequired[bool], "Whether the block is in the active chain"]


class TxPlace(TypedDict):
    """Where a transaction is."""

    blockhash: Annotated[NotRequired[Hex], "The block"]
    confirmations: Annotated[NotRequired[int], "Confirmations"]
    blocktime: Annotated[NotRequired[Time], "Time of the block"]
    time: Annotated[NotRequired[int], "The same"]


class TxBytes(TypedDict):
    """The bytes of a transaction."""

    hex: Annotated[Hex, "The transaction in hex"]


class TxFee(TypedDict):
    """The fee of a transaction."""

    fee: Annotated[NotRequired[Coins], "Fee, where undo data tell"]


class TransactionInfo(InChain, TxPlace, TxBytes, TxJson):
    """A transaction and where it is."""


class SpendingInfo(InChain, TxPlace, TxBytes, TxFee, SpendingTx):
    """The same with what it spends."""


@rpc("rawtransactions", examples=(("mytxid", 1, "myblockhash"),), prompt=True)
async def getrawtransaction(
    node: NodeParts,
    txid: Annotated[Hex, "Transaction id"],
    verbosity: Annotated[Any, "0: hex, 1: JSON, 2: JSON with fee and spent outputs", Like(int), Named("|verbose")] = 0,
    blockhash: Annotated[Hex | None, "The block to look into"] = None,
) -> (
    Annotated[str, "The transaction in hex", When("if verbosity is not set or set to 0", verbosity=(0, False))]
    | Annotated[TransactionInfo, When("if verbosity is set to 1", verbosity=(1, True))]
    | Annotated[SpendingInfo, Elided("As with verbosity 1", "fee", "vin"), When("for verbosity = 2", verbosity=(2,))]
):
    """A transaction: of the mempool, with -txindex of any block too, or of the block with blockhash."""
    wanted = parse_hash(txid, "parameter 1")
    if wanted == node.params.genesis_block[36:68]:  # its merkle root: it has one transaction
        text = "The genesis block coinbase is not considered an ordinary transaction and cannot be retrieved"
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, text)
    level = parse_verbosity(verbosity, 0)
    index = -1
    if blockhash is not None:
        index = node.chain.tree.find(BlockHash(parse_hash(blockhash, "parameter 3")))
        if index < 0:
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Block hash not found")
    ready = (
        blockhash is None and node.indexes.transactions is not None and await node.indexes.transactions.until_synced()
    )
    found = await (find_transaction(node, wanted) if index < 0 else _find_in_block(node, wanted, index))
    if found is None:
        raise _not_found(node, index, ready=ready)
    tx, block = found
    if level <= 0:
        return tx.raw.hex()
    spent = await _read_spent(node, tx, block) if level > 1 and block >= 0 else None
    members = await tx_members(node, tx, block, spent)
    begin = b"{"
    if index >= 0:
        begin = b'{"in_active_chain":true,' if is_active(node, index) else b'{"in_active_chain":false,'
    fee = b',"fee":%b' % amount_text(fee_of(tx, spent)).encode() if spent else b""
    whole = b'%b%b%b,"hex":"%b"%b}' % (begin, members, fee, await tx_hex(tx), _place_text(node, block))
    return cast(TransactionInfo, Written(whole))


def _not_found(node: NodeParts, index: int, *, ready: bool) -> RpcError:
    """Why there is no such transaction; ``index`` of the block that was asked for, or -1."""
    if index >= 0:
        if not node.chain.block_status(index).have_data:
            return RpcError(RpcCode.MISC_ERROR, "Block not available")
        why = "No such transaction found in the provided block"
    elif node.indexes.transactions is None:
        why = (
            "No such mempool transaction. Use -txindex or provide a block hash to enable blockchain transaction queries"
        )
    elif not ready:
        why = "No such mempool transaction. Blockchain transactions are still in the process of being indexed"
    else:
        why = "No such mempool or blockchain transaction"
    return RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f"{why}. Use gettransaction for wallet transactions.")


async def _find_in_block(node: NodeParts, txid: bytes, index: int) -> IndexedTx | None:
    """A transaction of a block, None when it or the block is not there."""
    lately, key = node.chain.lately, ("in block", txid, index)
    kept: IndexedTx | None = lately.get(key)
    if kept is not None and node.chain.is_stored(index):
        return kept
    try:
        block = await parsed_block(node, index)
        found = IndexedTx(block.tx(block.txids.index(txid)), index)
    except (StorageError, ValueError):
        return None
    lately.put(key, found, parsed_tx_size(found.tx))
    return found


def _place_text(node: NodeParts, block: int) -> bytes:
    """The members that tell where a transaction of a block is; none for one of the mempool, whose ``block`` is -1."""
    if block < 0:
        return b""
    tree = node.chain.tree
    block_hash = to_display(tree.hash(block))
    if not is_active(node, block):
        return f',"blockhash":"{block_hash}","confirmations":0'.encode()
    confirmations, time = node.chain.height() - tree.height(block) + 1, tree.time(block)
    return f',"blockhash":"{block_hash}","confirmations":{confirmations},"time":{time},"blocktime":{time}'.encode()


async def _read_spent(node: NodeParts, tx: Tx, index: int) -> list[bytes] | None:
    """The packed coins that a transaction of a block spends, None when they are not known; raises RpcError."""
    status = node.chain.block_status(index)
    if tx.is_coinbase or not (status.have_data or status.have_undo):
        return None
    text = (
        "{} data expected but can't be read. This could be due to disk corruption or a conflict with a pruning event."
    )
    try:
        undo = await spent_by_block(node, index)
    except StorageError:
        raise RpcError(RpcCode.INTERNAL_ERROR, text.format("Undo")) from None
    try:
        block = await parsed_block(node, index)
    except StorageError:
        raise RpcError(RpcCode.INTERNAL_ERROR, text.format("Block")) from None
    return undo[block.txids.index(tx.txid) - 1]


@rpc("rawtransactions", examples=((["myhex1", "myhex2"],),))
async def combinerawtransaction(
    node: NodeParts, txs: Annotated[Items[Annotated[Hex, Named("hexstring"), "A transaction"]], "The copies"]
) -> Annotated[str, "The transaction in hex"]:
    """One transaction with the signatures that several copies of it have together."""
    failed = "TX decode failed for tx {}. Make sure the tx has at least one input."
    variants = await aside(
        lambda: [decode_transaction(text, witness=True, error=failed.format(n)) for n, text in enumerate(txs)]
    )
    if not variants:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, "Missing transactions")
    prevouts = variants[0].prevouts
    txouts = await find_txouts(node, prevouts)

    def combined() -> str:
        if len(txouts) < len(set(prevouts)):
            raise RpcError(RpcCode.VERIFY_ERROR, "Input not found or already spent")
        return combine_signatures(variants, [txouts[outpoint] for outpoint in prevouts]).raw.hex()

    return await aside(combined)


class InputError(TypedDict):
    """What is wrong with an input."""

    txid: Annotated[Hex, "Transaction it spends from"]
    vout: Annotated[int, "Output it spends"]
    witness: Annotated[list[Annotated[Hex, "Element"]], "Witness"]
    scriptSig: Annotated[Hex, "Script"]
    sequence: Annotated[int, "Sequence"]
    error: Annotated[str, "What is wrong"]


def _error_json(tx: Tx, index: int, error: str) -> InputError:
    outpoint = tx.prevouts[index]
    return {
        "txid": to_display(outpoint[:32]),
        "vout": int.from_bytes(outpoint[32:], "little"),
        "witness": [item.hex() for item in tx.witnesses[index]] if tx.witnesses else [],
        "scriptSig": tx.script_sigs[index].hex(),
        "sequence": tx.sequences[index],
        "error": error,
    }


class SignedTx(TypedDict):
    """A transaction as far as it could be signed."""

    hex: Annotated[Hex, "The transaction"]
    complete: Annotated[bool, "Whether nothing is missing"]
    errors: Annotated[NotRequired[list[InputError]], "What is wrong with inputs"]


@rpc("rawtransactions", examples=(("myhex", ["key1", "key2"]),))
async def signrawtransactionwithkey(
    node: NodeParts,
    hexstring: Annotated[str, "The transaction in hex"],
    privkeys: Annotated[Items[Annotated[Hex, Named("privatekey"), "Wallet import format"]], "Private keys"],
    prevtxs: PreviousOutputs = None,
    sighashtype: SighashType = None,
) -> SignedTx:
    """Sign a transaction with the keys given, and no others."""
    tx = await aside(lambda: decode_transaction(hexstring, witness=True, error=NO_INPUT_HINT))
    provider = await aside(lambda: parse_secrets(privkeys, node.params))
    txouts = await find_txouts(node, tx.prevouts)

    def signed() -> SignedTx:
        parse_prevouts(prevtxs or [], provider, txouts)
        return signed_json(tx, provider, txouts, parse_sighash(sighashtype) or 0)

    return await aside(signed)


def signed_json(tx: Tx, provider: SigningProvider, txouts: dict[bytes, bytes], hash_type: int) -> SignedTx:
    """The transaction with the signatures that can be made; raises RpcError."""
    signed, errors = sign_transaction(tx, provider, txouts, hash_type)
    for index, error in errors.items():
        if error == MISSING_AMOUNT:
            txout = txouts[tx.prevouts[index]]
            value = format_amount(txout_value(txout))
            text = f"CTxOut(nValue={value}, scriptPubKey={txout_script(txout).hex()[:30]})"
            raise RpcError(RpcCode.TYPE_ERROR, f"Missing amount for {text}")
    result: SignedTx = {"hex": signed.raw.hex(), "complete": not errors}
    if errors:
        result["errors"] = [_error_json(signed, index, error) for index, error in errors.items()]
    return result
