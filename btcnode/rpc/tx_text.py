"""Transactions as JSON text, straight from their bytes: no object for each field, no encoder.

The text is byte for byte what ``jsonvalue.encode`` makes of the values in ``decode.py``; everything in it is ASCII
that JSON does not escape. Everything here is pure and may run outside the loop thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.amounts import COIN
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.tx import Tx
from btcnode.rpc.decode import script_asm, script_facts

SHORT_SCRIPT = 128  # bytes; the text of longer ones is not kept
PIECE_CHARS = 1 << 18  # of a block's text that are joined at a time, at least

_QUOTED = '","'  # between texts in quotes


def amount_text(satoshi: int) -> str:
    """Coins with eight decimals, as ``format_amount`` writes them."""
    if satoshi < 0:
        return f"-{-satoshi // COIN}.{-satoshi % COIN:08d}"
    return f"{satoshi // COIN}.{satoshi % COIN:08d}"


def _script_text(script: bytes, params: NetworkParams) -> str:
    asm, desc, address, kind = script_facts(script, params)
    told = "" if address is None else f'"address":"{address}",'
    return f'{{"asm":"{asm}","desc":"{desc}","hex":"{script.hex()}",{told}"type":"{kind}"}}'


_kept_script_text = lru_cache(maxsize=8192)(_script_text)


def script_text(script: bytes, params: NetworkParams) -> str:
    """The ``scriptPubKey`` object."""
    return _kept_script_text(script, params) if len(script) <= SHORT_SCRIPT else _script_text(script, params)


def _script_of(data: bytes, start: int) -> bytes:
    """The script behind its length at ``start``."""
    size = data[start]
    if size < 0xFD:
        start += 1
    else:
        size, start = read_compact_size(data, start)
    return data[start : start + size]


def _output_texts(txouts: Sequence[bytes], params: NetworkParams) -> list[str]:
    found = []
    for n, txout in enumerate(txouts):
        value = amount_text(int.from_bytes(txout[:8], "little", signed=True))
        found.append(f'{{"value":{value},"n":{n},"scriptPubKey":{script_text(_script_of(txout, 8), params)}}}')
    return found


def _spent_text(coin: bytes, params: NetworkParams) -> str:
    """The member that tells of the packed coin that an input spends."""
    code = int.from_bytes(coin[:4], "little")
    value = amount_text(int.from_bytes(coin[4:12], "little", signed=True))
    made = "true" if code & 1 else "false"
    return (
        f'"prevout":{{"generated":{made},"height":{code >> 1},"value":{value},'
        f'"scriptPubKey":{script_text(_script_of(coin, 12), params)}}},'
    )


def _input_texts(tx: Tx, params: NetworkParams, spent: Sequence[bytes] | None) -> list[str]:
    found, stacks = [], tx.witnesses
    is_coinbase = tx.is_coinbase
    for n, (outpoint, script, sequence) in enumerate(zip(tx.prevouts, tx.script_sigs, tx.sequences, strict=True)):
        if is_coinbase:
            start = f'"coinbase":"{script.hex()}"'
        else:
            asm = script_asm(script, sighash=True) if script else ""
            start = (
                f'"txid":"{outpoint[31::-1].hex()}","vout":{int.from_bytes(outpoint[32:], "little")},'
                f'"scriptSig":{{"asm":"{asm}","hex":"{script.hex()}"}}'
            )
        stack = stacks[n] if stacks else None
        witness = f',"txinwitness":["{_QUOTED.join([item.hex() for item in stack])}"]' if stack else ""
        prevout = _spent_text(spent[n], params) if spent else ""
        found.append(f'{{{start}{witness},{prevout}"sequence":{sequence}}}')
    return found


def tx_text(tx: Tx, params: NetworkParams, spent: Sequence[bytes] | None = None) -> str:
    """The members of a transaction's object, without its braces; with the packed coins that it spends, those too."""
    return _tx_text(tx, tx.txid, tx.wtxid, params, spent)


def _tx_text(tx: Tx, txid: bytes, wtxid: bytes, params: NetworkParams, spent: Sequence[bytes] | None) -> str:
    weight = tx.weight
    return (
        f'"txid":"{txid[::-1].hex()}","hash":"{wtxid[::-1].hex()}","version":{tx.version},"size":{len(tx.raw)},'
        f'"vsize":{(weight + 3) // 4},"weight":{weight},"locktime":{tx.lock_time},'
        f'"vin":[{",".join(_input_texts(tx, params, spent))}],"vout":[{",".join(_output_texts(tx.txouts, params))}]'
    )


def fee_of(tx: Tx, spent: Sequence[bytes]) -> int:
    """Satoshi that a transaction which spends these packed coins pays."""
    read = int.from_bytes
    return sum([read(coin[4:12], "little", signed=True) for coin in spent]) - sum(
        [read(txout[:8], "little", signed=True) for txout in tx.txouts]
    )


def block_tx_text(
    block: ParsedBlock, i: int, params: NetworkParams, spent: Sequence[bytes] | None, *, prevouts: bool
) -> str:
    """Transaction ``i`` of a block as ``getblock`` tells of it, with its fee where it is known what it ``spent``."""
    tx = block.tx(i)
    text = _tx_text(tx, block.txids[i], block.wtxids[i], params, spent if prevouts else None)
    fee = f',"fee":{amount_text(fee_of(tx, spent))}' if spent else ""
    return f'{{{text}{fee},"hex":"{tx.raw.hex()}"}}'


def block_txs_text(
    block: ParsedBlock, params: NetworkParams, undo: Sequence[Sequence[bytes]] | None, *, prevouts: bool
) -> Iterator[bytes]:
    """All transactions of a block with commas between them, in pieces; ``undo`` has what those behind the first spend.

    With ``prevouts`` the outputs that are spent are told too.
    """
    pieces: list[str] = []
    size = 0
    for i in range(block.n_tx):
        text = block_tx_text(block, i, params, undo[i - 1] if undo and i else None, prevouts=prevouts)
        pieces.append(text)
        size += len(text)
        if size >= PIECE_CHARS and i + 1 < block.n_tx:
            pieces.append("")  # for the comma behind it
            yield ",".join(pieces).encode()
            pieces, size = [], 0
    yield ",".join(pieces).encode()
