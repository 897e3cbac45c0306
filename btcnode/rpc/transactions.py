"""Transactions as RPC parameters: hex in its two forms, inputs and outputs to build one from, outputs it spends."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict, cast

from btcnode.descriptors.descriptor import p2sh_script, p2wsh_script
from btcnode.descriptors.errors import PsbtError
from btcnode.descriptors.provider import Secret, SigningProvider
from btcnode.descriptors.psbt_stream import parse_stripped
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import script_for_address, secret_decode
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import txout_script
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.tx import Tx
from btcnode.rpc.amounts import parse_amount
from btcnode.rpc.declare import MUST, NO_NULL, AnyAmount, Bits, Hex, Hint, Like, Named, Otherwise
from btcnode.rpc.decode import SIGHASH_NAMES, script_asm
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Checked, Items, Lenient, Whole
from btcnode.rpc.jsonvalue import DuplicateKeysDict, type_name, value_text
from btcnode.rpc.lookup import parse_hash, parse_hex, parse_hex_or_none
from btcnode.rpc.room import VERBOSE_FACTOR, beside, in_slices, make_room
from btcnode.rpc.shapes import whole_number, wrong_type
from btcnode.rpc.tx_text import tx_text
from btcnode.script.opcodes import MAX_SCRIPT_ELEMENT_SIZE, MAX_SCRIPT_SIZE, OP_NOP10, OP_RETURN
from btcnode.script.scriptparse import BAD_OP, iter_ops, witness_program
from btcnode.services.index_readers import IndexedTx
from btcnode.services.parts import NodeParts

COINS_AT_ONCE = 1000  # read from the UTXO set
LARGE_TX = 20_000  # bytes; what is larger is made into JSON beside the loop
SEQUENCE_FINAL = 0xFFFFFFFF
MAX_REPLACEABLE_SEQUENCE = 0xFFFFFFFD  # BIP125
NO_INPUT_HINT = "TX decode failed. Make sure the tx has at least one input."
_SIGHASHES = {name: value for value, name in SIGHASH_NAMES.items()} | {"DEFAULT": 0}


class TxInput(TypedDict):
    """An input of a transaction to be made."""

    txid: Annotated[Hex, "Transaction it spends from"]
    vout: Annotated[Any, "Output it spends", Like(int)]
    sequence: Annotated[
        NotRequired[Any],
        "Sequence",
        Like(int),
        Hint("depends on the value of the 'replaceable' and 'locktime' arguments"),
    ]


class DataOutput(TypedDict):
    """An output that holds data."""

    data: Annotated[Hex, "What follows OP_RETURN"]


class PreviousOutput(TypedDict):
    """An output that neither the chain nor the mempool has."""

    txid: Annotated[Hex, "Transaction id"]
    vout: Annotated[int, "Number of the output"]
    scriptPubKey: Annotated[Hex, "Its script"]
    redeemScript: Annotated[NotRequired[Any], "Redeem script, for P2SH", Like(Hex)]
    witnessScript: Annotated[NotRequired[Any], "Witness script, for P2WSH, wrapped in P2SH or not", Like(Hex)]
    amount: Annotated[NotRequired[AnyAmount], "Its amount, for segwit", NO_NULL]


Inputs = Annotated[Items[Annotated[Lenient[TxInput], "An input"]], "The inputs"]
Payments = dict[str, Annotated[AnyAmount, Named("address"), "Amount in BTC", MUST]]
Outputs = Annotated[
    Any,
    "The outputs, each with an address and its amount, or one with data; an object with all of them will do too",
    Like(Items[Annotated[Payments, "A payment"] | Annotated[Lenient[DataOutput], "Data"]]),
]
LockTime = Annotated[int, "Lock time", Bits(64)]
LateLockTime = Annotated[Whole, "Lock time", Bits(64)]
Replaceable = Annotated[bool | None, "Whether it can be replaced by one with a higher fee (BIP125)", Hint("true")]
TxVersion = Annotated[int, "Version", Bits(-32)]
LateVersion = Annotated[Whole, "Version of the transaction", Bits(-32)]
TWO = Whole(2)
IsWitness = Annotated[bool | None, "Whether it is in the form with witness", Hint("depends on heuristic tests")]
SighashType = Annotated[
    str | None,
    "What the signatures are to cover: DEFAULT, ALL, NONE or SINGLE, the last three also with |ANYONECANPAY",
    Hint('"DEFAULT for Taproot, ALL otherwise"'),
]
PreviousOutputs = Annotated[
    Items[Annotated[Checked[PreviousOutput], "An output"]] | None,
    "Outputs it spends that the chain and the mempool do not have",
    Otherwise(RpcCode.DESERIALIZATION_ERROR, 'expected object with {"txid\'","vout","scriptPubKey"}'),
]


def expect(value: Any, kind: str) -> Any:
    """The value, when its JSON type is ``kind``; raises RpcError."""
    if type_name(value) != kind:
        raise wrong_type(value, kind)
    return value


# ---- hex


def _is_plausible(tx: Tx) -> bool:
    """Whether all scripts could stand in a block: what tells a transaction from bytes that only look like one."""
    scripts = [] if tx.is_coinbase else list(tx.script_sigs)
    scripts += [txout_script(txout) for txout in tx.txouts]
    return all(len(script) <= MAX_SCRIPT_SIZE and has_valid_ops(script) for script in scripts)


def has_valid_ops(script: bytes) -> bool:
    """Whether a script has opcodes that exist only, and no element that is too long."""
    return all(
        op != BAD_OP and op <= OP_NOP10 and len(data) <= MAX_SCRIPT_ELEMENT_SIZE for op, data in iter_ops(script)
    )


def _parse_extended(raw: bytes) -> Tx | None:
    try:
        return Tx.parse(raw)
    except DecodeError:
        return None


def _parse_legacy(raw: bytes) -> Tx | None:
    try:
        return parse_stripped(raw)
    except PsbtError:
        return None


def decode_transaction(text: Any, *, witness: bool | None = None, error: str = "TX decode failed") -> Tx:
    """A transaction in hex; ``witness`` names its form, None lets its scripts decide. Raises RpcError."""
    raw = parse_hex_or_none(expect(text, "string"))
    extended = _parse_extended(raw) if raw and witness is not False else None
    if extended is not None and _is_plausible(extended):
        return extended
    legacy = _parse_legacy(raw) if raw and witness is not True else None
    if legacy is not None and (extended is None or _is_plausible(legacy)):
        return legacy
    if extended is None:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, error)
    return extended


# ---- building


def _inputs(
    items: Iterable[Mapping[str, Any]], lock_time: int, replaceable: bool | None
) -> tuple[list[bytes], list[int]]:
    """Outpoints and sequences."""
    usual = SEQUENCE_FINAL - 1 if lock_time else SEQUENCE_FINAL
    if replaceable is not False:
        usual = MAX_REPLACEABLE_SEQUENCE
    outpoints, sequences = [], []
    for item in items:
        txid = parse_hash(item.get("txid"), "txid")
        if type_name(item.get("vout")) != "number":
            raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, missing vout key")
        n = whole_number(item["vout"])
        if n < 0:
            raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, vout cannot be negative")
        sequence = usual
        if type_name(item.get("sequence")) == "number":
            sequence = whole_number(item["sequence"], 64)
            if not 0 <= sequence <= SEQUENCE_FINAL:
                raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, sequence number is out of range")
        outpoints.append(txid + n.to_bytes(4, "little"))
        sequences.append(sequence)
    return outpoints, sequences


def output_pairs(outputs: Any) -> list[tuple[str, Any]]:
    """Keys and values of the outputs, given as one object or as a list of objects with one key each."""
    if outputs is None:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, output argument must be non-null")
    if type_name(outputs) == "object":
        return [(key, outputs[key]) for key, _ in outputs.items()]
    pairs: list[tuple[str, Any]] = []
    first: dict[str, Any] = {}  # of an address given twice the first amount is read, then the second one refused
    for item in expect(outputs, "array"):
        if type_name(item) != "object":
            why = "Invalid parameter, key-value pair not an object as expected"
            raise RpcError(RpcCode.INVALID_PARAMETER, why)
        if len(item) != 1 or isinstance(item, DuplicateKeysDict):
            why = "Invalid parameter, key-value pair must contain exactly one key"
            raise RpcError(RpcCode.INVALID_PARAMETER, why)
        pairs += [(key, first.setdefault(key, value)) for key, value in item.items()]
    return pairs


def _data_script(value: Any) -> bytes:
    """OP_RETURN and one push."""
    data = parse_hex(value_text(value), "Data")
    size = len(data)
    width = 0 if size < 0x4C else 1 if size <= 0xFF else 2 if size <= 0xFFFF else 4
    length = size.to_bytes(width or 1, "little")
    return bytes((OP_RETURN,)) + (bytes((0x4C + width // 2,)) if width else b"") + length + data


def make_outputs(pairs: Iterable[tuple[str, Any]], params: NetworkParams) -> list[bytes]:
    """The txouts of addresses with amounts, and of data; raises RpcError."""
    txouts, seen = [], set()
    for name, value in pairs:
        if name == "data":
            if name in seen:
                raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, duplicate key: data")
            seen.add(name)
            amount, script = 0, _data_script(value)
        else:
            amount = parse_amount(value)
            try:
                script = script_for_address(name, params)
            except DecodeError:
                raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f"Invalid Bitcoin address: {name}") from None
            if script.hex() in seen:
                raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid parameter, duplicated address: {name}")
            seen.add(script.hex())
        txouts.append(amount.to_bytes(8, "little") + compact_size(len(script)) + script)
    return txouts


def build_transaction(
    inputs: Items[Lenient[TxInput]],
    outputs: Any,
    lock_time: int,
    replaceable: bool | None,
    version: int,
    params: NetworkParams,
) -> Tx:
    """A transaction without signatures from the parameters of ``createrawtransaction``; raises RpcError."""
    items = (cast(Mapping[str, Any], given.read()) for given in inputs)
    return _build(items, outputs, lock_time, replaceable, version, params)


def construct_transaction(
    inputs: Any, outputs: Any, lock_time: Any, replaceable: bool | None, version: int, params: NetworkParams
) -> Tx:
    """The same from parameters as they came, of which inputs and lock time may be left out; raises RpcError."""
    items = (expect(item, "object") for item in (() if inputs is None else expect(inputs, "array")))
    lock = 0 if lock_time is None else whole_number(lock_time, 64)
    return _build(items, outputs, lock, replaceable, version, params)


def _build(
    inputs: Iterable[Mapping[str, Any]],
    outputs: Any,
    lock_time: int,
    replaceable: bool | None,
    version: int,
    params: NetworkParams,
) -> Tx:
    if not 0 <= lock_time <= 0xFFFFFFFF:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, locktime out of range")
    if not 1 <= version <= 3:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, version out of range(1~3)")
    outpoints, sequences = _inputs(inputs, lock_time, replaceable)
    txouts = make_outputs(output_pairs(outputs), params)
    if replaceable and sequences and all(sequence > MAX_REPLACEABLE_SEQUENCE for sequence in sequences):
        why = "Invalid parameter combination: Sequence number(s) contradict replaceable option"
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    return Tx(version, outpoints, [b""] * len(outpoints), sequences, txouts, lock_time=lock_time)


# ---- transactions of the node


async def find_transaction(node: NodeParts, txid: bytes) -> IndexedTx | None:
    """A transaction of the mempool (its block is -1), or of a block when there is an index of them.

    Raises StorageError.
    """
    entry = node.mempool.get(txid)
    if entry is not None:
        return IndexedTx(entry.tx, -1)
    return await node.indexes.transactions.find(txid) if node.indexes.transactions is not None else None


async def tx_members(node: NodeParts, tx: Tx, block: int, spent: Sequence[bytes] | None = None) -> bytes:
    """The members of a transaction's object as JSON text, without its braces.

    ``block``: that it is in (-1: none), ``spent``: the packed coins that it spends, where they are to be told.
    """
    key = ("tx", tx.wtxid, block, spent is not None)
    kept: bytes | None = node.chain.lately.get(key)
    if kept is not None:
        return kept
    text = await _where_it_fits(tx, lambda: tx_text(tx, node.params, spent).encode())
    if block >= 0:
        node.chain.lately.put(key, text, len(text))
    return text


async def tx_hex(tx: Tx) -> bytes:
    """A transaction in hex."""
    return await _where_it_fits(tx, lambda: hexlify(tx.raw))


async def _where_it_fits(tx: Tx, work: Callable[[], bytes]) -> bytes:
    """Do ``work`` with a transaction: at once, or beside the loop when that would be held up."""
    size = len(tx.raw)
    if size < LARGE_TX:
        return work()
    await make_room(size * VERBOSE_FACTOR)
    return await beside(work)


# ---- what it spends


async def find_txouts(node: NodeParts, outpoints: Iterable[bytes]) -> dict[bytes, bytes]:
    """The txouts of outpoints as the mempool and the UTXO set have them, spent in the mempool or not."""
    found: dict[bytes, bytes] = {}
    missing: list[bytes] = []
    async for outpoint in in_slices(outpoints):
        txout = node.mempool.txout(outpoint)
        if txout is None:
            missing.append(outpoint)
        else:
            found[outpoint] = txout
    for start in range(0, len(missing), COINS_AT_ONCE):
        names = missing[start : start + COINS_AT_ONCE]
        coins = zip(names, await node.chain.get_coins(names), strict=True)
        found |= {outpoint: coin[4:] for outpoint, coin in coins if coin is not None}
    return found


def parse_prevouts(
    items: Iterable[Checked[PreviousOutput]], provider: SigningProvider | None, txouts: dict[bytes, bytes]
) -> None:
    """Take over the outputs that a caller tells of, and where there is a provider their scripts; raises RpcError."""
    for given in items:
        item = given.read()
        txid, n = parse_hash(item["txid"], "txid"), item["vout"]
        if n < 0:
            raise RpcError(RpcCode.DESERIALIZATION_ERROR, "vout cannot be negative")
        script = parse_hex(item["scriptPubKey"], "scriptPubKey")
        outpoint = txid + n.to_bytes(4, "little")
        if outpoint in txouts and txout_script(txouts[outpoint]) != script:
            known = script_asm(txout_script(txouts[outpoint]))
            why = f"Previous output scriptPubKey mismatch:\n{known}\nvs:\n{script_asm(script)}"
            raise RpcError(RpcCode.DESERIALIZATION_ERROR, why)
        amount = parse_amount(item["amount"]) if "amount" in item else MAX_MONEY
        txouts[outpoint] = amount.to_bytes(8, "little") + compact_size(len(script)) + script
        is_p2sh = len(script) == 23 and script[:2] == b"\xa9\x14" and script[22] == 0x87
        program = witness_program(script)
        is_p2wsh = program is not None and program[0] == 0 and len(script) == 34
        if provider is not None and (is_p2sh or is_p2wsh):
            _learn_scripts(item, script, provider, is_p2sh=is_p2sh)


def _learn_scripts(item: PreviousOutput, script_pubkey: bytes, provider: SigningProvider, *, is_p2sh: bool) -> None:
    redeem: Any = item.get("redeemScript")
    witness: Any = item.get("witnessScript")
    for key, value in (("redeemScript", redeem), ("witnessScript", witness)):
        if value is not None and type_name(value) != "string":
            why = f"JSON value of type {type_name(value)} for field {key} is not of expected type string"
            raise RpcError(RpcCode.TYPE_ERROR, why)
    if redeem is None and witness is None:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Missing redeemScript/witnessScript")
    script = parse_hex(witness, "witnessScript") if witness is not None else parse_hex(redeem, "redeemScript")
    wrapped = p2wsh_script(script)
    provider.add_script(script)
    provider.add_script(wrapped)
    both = redeem is not None and witness is not None
    if both and redeem != witness and parse_hex(redeem, "redeemScript") != wrapped:
        raise RpcError(RpcCode.INVALID_PARAMETER, "redeemScript does not correspond to witnessScript")
    fitting = (p2sh_script(script), p2sh_script(wrapped)) if is_p2sh else (wrapped,)
    if script_pubkey not in fitting:
        raise RpcError(RpcCode.INVALID_PARAMETER, "redeemScript/witnessScript does not match scriptPubKey")


def parse_secrets(items: Iterable[str], params: NetworkParams) -> SigningProvider:
    """A signer with private keys in wallet import format; raises RpcError."""
    provider = SigningProvider()
    for item in items:
        try:
            secret = Secret(*secret_decode(item, params))
        except DecodeError:
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Invalid private key") from None
        provider.add_pubkey(secret.pubkey)
        provider.add_secret(secret)
    return provider


def parse_sighash(text: str | None) -> int | None:
    """The hash type of a name; raises RpcError."""
    if text is None:
        return None
    if text not in _SIGHASHES:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"'{text}' is not a valid sighash parameter.")
    return _SIGHASHES[text]
