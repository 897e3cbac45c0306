"""Attacks by messages: of blocks, transactions and addresses, and by requests."""

from __future__ import annotations

import os
from itertools import chain, count, repeat
from random import Random

from btcnode.primitives.block import parse_block
from btcnode.primitives.chunk_tree import CHUNK_SIZE, MAX_CHUNKS
from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.header import HEADER_SIZE, HEADER_STRUCT, header_hash
from btcnode.primitives.tx import Tx
from btcnode.testing.blocks import BlockTemplate, grind
from btcnode.wire.constants import (
    FEATURE_UTXO_SETS,
    MAX_BLOCK_INPUTS,
    MAX_UTREEXO_HASHES,
    MSG_BLOCK,
    MSG_CMPCT_BLOCK,
    MSG_FILTERED_BLOCK,
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WTX,
)
from btcnode.wire.messages import (
    Addr,
    AddrEntry,
    AddrV2,
    BlockSpent,
    BlockTxn,
    FeeFilter,
    FilterAdd,
    FilterLoad,
    GetAddr,
    GetBlocks,
    GetBlockSpent,
    GetBlockTxn,
    GetCFCheckpt,
    GetCFHeaders,
    GetCFilters,
    GetData,
    GetHeaders,
    GetUtreexoProof,
    GetUtreexoRoot,
    GetUtxoSet,
    GetUtxoTree,
    GetXBlockTx,
    GetXThin,
    Headers,
    Inv,
    InvItem,
    Mempool,
    MerkleBlock,
    Message,
    NotFound,
    Ping,
    Pong,
    SendCmpct,
    SendTxRcncl,
    UtreexoProof,
    UtxoSetChunk,
    UtxoTree,
    Version,
    XBlockTx,
    XThinBlock,
)
from btcnode.wire.netaddr import NetAddress
from tests.lib.hostile.filters import worst_filter
from tests.lib.hostile.kinds import Frames, Kind, Reading, Source, for_ever, frame, in_bulk, varied
from tests.lib.hostile.world import (
    FAT_SCRIPT,
    PARAMS,
    PUSHED_BYTES,
    SPACING,
    TRUE_PROGRAM,
    World,
    cheap_parent,
    checked_pair,
    checked_tx,
    header_chain,
    new_header,
    orphan_family,
    outputs_of,
    plain_tx,
    quadratic_tx,
    slow_tx,
    spend,
)

ORPHAN_INPUTS = 2_400
WITNESS_ELEMENTS = 190_000
MAX_TXS = 65_535
SETS = (FEATURE_UTXO_SETS,)
TINY_TX = Tx(2, [os.urandom(36)], [b""], [0], [make_txout(0, b"")]).raw  # 60 bytes, as small as they come
EMPTY_FILTER = FilterLoad(bytes(36_000), 50, 0, 0)
PUSHED = tuple(bytes([first]) for first in PUSHED_BYTES)  # what heavy transactions of the mempool push


def wire(message: Message) -> bytes:
    """A message's frame."""
    return frame(message.command, message.encode())


def _hash_of(raw: bytes) -> bytes:
    return header_hash(raw[:HEADER_SIZE])


# -- blocks ----------------------------------------------------------------------------------------------------------


def _regrinding(world: World, command: str, tail: bytes, prev: bytes) -> Source:
    """Messages that begin with a new header each: another merkle root, and work for it."""

    def frames(number: int) -> Frames:
        for n in count():
            root = number.to_bytes(2, "little") + n.to_bytes(30, "little")
            yield frame(command, new_header(prev, root, world.started + 1) + tail)

    return frames


def _compact_large(world: World, _: int) -> Source:
    prefilled = b"".join([b"\0" + TINY_TX] * MAX_TXS)
    return _regrinding(world, "cmpctblock", bytes(8) + b"\0" + compact_size(MAX_TXS) + prefilled, world.tip)


def _compact_large_known(world: World, _: int) -> Source:
    prefilled = b"".join([b"\0" + TINY_TX] * MAX_TXS)
    header = world.blocks[-1][:HEADER_SIZE]
    return for_ever(frame("cmpctblock", header + bytes(8) + b"\0" + compact_size(MAX_TXS) + prefilled))


def _compact_ids(world: World, _: int) -> Source:
    ids = os.urandom(6 * (MAX_TXS - 1))
    tail = bytes(8) + compact_size(MAX_TXS - 1) + ids + b"\x01\0" + TINY_TX
    return _regrinding(world, "cmpctblock", tail, world.tip)


def _compact_collisions(world: World, _: int) -> Source:
    ids = os.urandom(6) * (MAX_TXS - 1)
    tail = bytes(8) + compact_size(MAX_TXS - 1) + ids + b"\x01\0" + TINY_TX
    return _regrinding(world, "cmpctblock", tail, world.tip)


def _block_txn(world: World, _: int) -> Source:
    return varied("blocktxn", BlockTxn(bytes(32), (TINY_TX,) * MAX_TXS).encode(), 0)


def _ask_parts_unknown(world: World, _: int) -> Source:
    return for_ever(wire(GetBlockTxn(b"\7" * 32, tuple(range(MAX_TXS)))))


def _ask_parts_known(world: World, _: int) -> Source:
    transactions = parse_block(world.busy).n_tx
    return for_ever(wire(GetBlockTxn(_hash_of(world.busy), tuple(range(transactions)))))


def _unasked(world: World, _: int) -> Source:
    """Whole blocks on top of an old one."""
    return _regrinding(world, "block", world.busy[HEADER_SIZE:], _hash_of(world.blocks[-50]))


def _mutated(world: World, _: int) -> Source:
    """The busy block with its last transaction twice."""
    block = parse_block(world.busy)
    last = block.tx_raw(block.n_tx - 1)
    start = block.tx_pos[0]
    body = world.busy[:HEADER_SIZE] + compact_size(block.n_tx + 1) + world.busy[start:] + last
    return for_ever(frame("block", body))


def _invalid_on_tip(world: World, connections: int) -> Source:
    """Blocks of thousands of transactions on the tip whose coinbase takes too much."""
    txs = [spend([coin], [make_txout(coin.value, TRUE_PROGRAM)]) for coin in world.take(2_000)]
    return _on_tip(world, txs, min(connections, 24), 10**15)


def _dear_on_tip(world: World, connections: int) -> Source:
    """Blocks on the tip with nearly as many signature checks as there may be, of which the last one fails."""
    return _on_tip(world, checked_pair(world, 290), min(connections, 12), 0)


def _bad_root(world: World, _: int) -> Source:
    """The busy block under headers whose merkle root is that of nothing."""
    return _regrinding(world, "block", world.busy[HEADER_SIZE:], world.tip)


def _bad_commitment(world: World, connections: int) -> Source:
    """Blocks of nearly 4 MB on the tip, all of them witness, whose commitment is to another one."""
    stack = [bytes([n % 251]) * 520 for n in range(400)]
    coins = world.fat_coins
    txs = [spend([coin], [make_txout(coin.value, TRUE_PROGRAM)], [*stack, FAT_SCRIPT]) for coin in coins]
    made = []
    for raw in _built_on_tip(world, txs, min(connections, 6), 0):
        at = raw.rindex(bytes([400 % 251 - 1]) * 520)  # in the last witness: only the commitment knows of it
        made.append(wire_block(raw[:at] + b"\xff" + raw[at + 1 :]))
    return lambda number: repeat(made[number % len(made)])


def _races(world: World, _: int) -> Source:
    """Two branches that overtake each other, block by block; each reorganisation is deeper than the last."""
    txs = [spend([coin], [make_txout(coin.value, TRUE_PROGRAM)]) for coin in world.take(500)]
    parts, tips = [], [(world.tip, len(world.blocks))] * 2
    for n in range(1, 13):
        branch = []
        prev, height = tips[n % 2]
        while height < len(world.blocks) + n:
            height += 1
            template = BlockTemplate(
                PARAMS, prev, height, world.started + height - len(world.blocks), PARAMS.pow_limit_bits,
                txs=txs if height == len(world.blocks) + 1 else [], script_pubkey=TRUE_PROGRAM, commit=True,
                extra=bytes([n % 2]),
            )  # fmt: skip
            raw = template.build()
            branch.append(raw)
            prev = _hash_of(raw)
        tips[n % 2] = prev, height
        headers = wire(Headers(tuple(raw[:HEADER_SIZE] for raw in branch)))
        parts.append(headers + b"".join(map(wire_block, branch)))
    return lambda _: iter(parts)


def _on_tip(world: World, txs: list[Tx], count: int, paid: int) -> Source:
    """So many blocks of the same transactions, each sent three times by every connection that has it."""
    made = [wire_block(raw) for raw in _built_on_tip(world, txs, count, paid)]
    return lambda number: iter([made[number % len(made)]] * 3)


def _built_on_tip(world: World, txs: list[Tx], count: int, paid: int) -> list[bytes]:
    """So many blocks of the same transactions on the tip."""
    return [
        BlockTemplate(
            PARAMS, world.tip, len(world.blocks) + 1, world.started + SPACING, PARAMS.pow_limit_bits, txs=txs,
            coinbase_value=paid, extra=number.to_bytes(4, "little"), commit=True,
        ).build()
        for number in range(count)
    ]  # fmt: skip


def wire_block(raw: bytes) -> bytes:
    """A block's frame."""
    return frame("block", raw)


def _spent_coins(world: World) -> bytes:
    """As many as a block can spend, in as many bytes as a message can have."""
    return wire(BlockSpent(world.tip, compact_size(MAX_BLOCK_INPUTS) + bytes(3_999_900)))


def _xthin_block(world: World, _: int) -> Source:
    thin = XThinBlock(bytes(80), tuple(n.to_bytes(8, "little") for n in range(MAX_TXS)), (TINY_TX,) * 55_000)
    return _regrinding(world, "xthinblock", thin.encode()[HEADER_SIZE:], world.tip)


def _small_compact(world: World, _: int) -> Source:
    """Compact blocks of one transaction on blocks that nobody knows."""
    return _regrinding(world, "cmpctblock", bytes(8) + b"\0\x01\0" + TINY_TX, os.urandom(32))


def _empty_blocks(world: World, _: int) -> Source:
    """Blocks without a transaction on the tip."""
    return _regrinding(world, "block", b"\0", world.tip)


def _smallest_txs(world: World, _: int) -> Source:
    """Blocks that nobody announced, of 399,000 transactions without inputs and outputs."""
    return _regrinding(world, "block", compact_size(399_000) + bytes(10 * 399_000), world.tip)


def _one_tx_of_elements(world: World, _: int) -> Source:
    """Blocks that nobody announced, of one transaction with 3.9 million empty witness elements."""
    body = b"\1" + bytes(36) + b"\0" + bytes(4) + b"\1" + bytes(9)
    tx = bytes(4) + b"\0\1" + body + compact_size(3_900_000) + bytes(3_900_000 + 4)
    return _regrinding(world, "block", b"\1" + tx, world.tip)


def _ask_one_part(world: World, _: int) -> Source:
    return in_bulk(wire(GetBlockTxn(_hash_of(world.busy), (9_000,))))


def _utxo_chunk(world: World, _: int) -> Source:
    return for_ever(wire(UtxoSetChunk(world.tip, 0, bytes(CHUNK_SIZE))))


def _utxo_tree(world: World, _: int) -> Source:
    """The hashes of a set that is as large as one may be."""
    return for_ever(wire(UtxoTree(world.tip, 2, MAX_CHUNKS * CHUNK_SIZE, bytes(32 * MAX_CHUNKS))))


def _proof_unasked(world: World, _: int) -> Source:
    return for_ever(wire(UtreexoProof(world.tip, bytes(3_999_900))))


BLOCKS = (
    Kind("uproof of 4 MB, unasked", _proof_unasked, both=False),
    Kind("utxoset of 3.9 MB, unasked", _utxo_chunk, both=False, features=SETS),
    Kind("utxotree of the largest set, unasked", _utxo_tree, both=False, features=SETS),
    Kind("cmpctblock on an unknown block", _small_compact),
    Kind("blocks without transactions", _empty_blocks),
    Kind("blocks of 399,000 transactions of ten bytes", _smallest_txs, few=True),
    Kind("blocks of one tx of 3.9 million elements", _one_tx_of_elements),
    Kind("getblocktxn, one of a busy block", _ask_one_part),
    Kind("cmpctblock of 4 MB", _compact_large, few=True),
    Kind("cmpctblock of 4 MB, known block", _compact_large_known),
    Kind("cmpctblock, 65,534 short ids", _compact_ids, pool=True),
    Kind("cmpctblock, all ids the same", _compact_collisions),
    Kind("blocktxn of 4 MB, unasked", _block_txn),
    Kind("bspent of 4 MB, unasked", lambda world, _: for_ever(_spent_coins(world)), both=False),
    Kind("getblocktxn, 65,535 of an unknown block", _ask_parts_unknown),
    Kind("getblocktxn, all of a busy block", _ask_parts_known),
    Kind("unasked blocks on an old one", _unasked),
    Kind("mutated block", _mutated),
    Kind("invalid blocks on the tip", _invalid_on_tip),
    Kind("invalid blocks on the tip, the last of 78,300 checks wrong", _dear_on_tip),
    Kind("xthinblock of 4 MB, unasked", _xthin_block, both=False),
    Kind("blocks whose merkle root is wrong", _bad_root),
    Kind("blocks of 4 MB whose witness commitment is wrong", _bad_commitment),
    Kind("two branches that overtake each other twelve times", _races),
)


# -- headers ---------------------------------------------------------------------------------------------------------


def _locator(world: World, _: int) -> Source:
    unknown = tuple(os.urandom(32) for _ in range(101))
    return in_bulk(wire(GetHeaders(unknown, bytes(32))))


def _headers_low_work(world: World, _: int) -> Source:
    return for_ever(wire(Headers(tuple(header_chain(PARAMS.genesis_hash, 2000, world.started - 10**6)))))


def _headers_nowhere(world: World, _: int) -> Source:
    made = header_chain(os.urandom(32), 2000, world.started)
    return for_ever(wire(Headers(tuple(made))))


def _headers_bad_work(world: World, _: int) -> Source:
    made = header_chain(world.tip, 1999, world.started)
    last = HEADER_STRUCT.pack(4, header_hash(made[-1]), bytes(32), world.started + 3000, PARAMS.pow_limit_bits, 0)
    return for_ever(wire(Headers((*made, grind(last, valid=False)))))


def _better_chain(world: World, _: int) -> Source:
    """Headers on the tip, again and again others, whose blocks never come."""

    def frames(number: int) -> Frames:
        for n in count():
            yield wire(Headers(tuple(header_chain(world.tip, 3, world.started + 1 + number + 200 * n))))

    return frames


def _forks(world: World, _: int) -> Source:
    """A header on ever another block: each is a branch of its own."""

    def frames(number: int) -> Frames:
        for n in count():
            prev = world.blocks[-1 - (number + 110 * n) % (len(world.blocks) - 1)]
            yield wire(Headers((new_header(_hash_of(prev), os.urandom(32), world.started + 1),)))

    return frames


def _warped(world: World, _: int) -> Source:
    """Headers whose times jump as far as they may, and the last one further."""
    made, prev = [], world.tip
    for n in range(2_000):
        when = world.started + (7_000 if n % 6 == 5 else n // 6 + 1)
        made.append(new_header(prev, n.to_bytes(32, "little"), when if n < 1_999 else world.started - 10**6))
        prev = header_hash(made[-1])
    return for_ever(wire(Headers(tuple(made))))


def _headers_from_the_start(world: World, _: int) -> Source:
    return in_bulk(wire(GetHeaders((PARAMS.genesis_hash,), bytes(32))))


def _compact_then_wrong(world: World, _: int) -> Source:
    """A compact block of one transaction that nobody knows, then another one than that."""

    def frames(number: int) -> Frames:
        for n in count():
            head = new_header(world.tip, number.to_bytes(2, "little") + n.to_bytes(30, "little"), world.started + 1)
            compact = head + bytes(8) + b"\x01" + os.urandom(6) + b"\x01\0" + TINY_TX
            yield frame("cmpctblock", compact) + wire(BlockTxn(header_hash(head), (TINY_TX,)))

    return frames


def _thin_then_wrong(world: World, _: int) -> Source:
    """A thin block without what it is made of, then the wrong transactions."""

    def frames(number: int) -> Frames:
        for n in count():
            head = new_header(world.tip, number.to_bytes(2, "little") + n.to_bytes(30, "little"), world.started + 1)
            thin = XThinBlock(head, tuple(os.urandom(8) for _ in range(500)), (TINY_TX,))
            yield wire(thin) + wire(XBlockTx(header_hash(head), (TINY_TX,) * 500))

    return frames


def _one_nowhere(world: World, _: int) -> Source:
    """A header whose parent nobody knows, again and again."""
    return in_bulk(wire(Headers((new_header(os.urandom(32), bytes(32), world.started),))))


def _one_known(world: World, _: int) -> Source:
    return in_bulk(wire(Headers((world.blocks[-1][:HEADER_SIZE],))))


HEADERS = (
    Kind("headers, one that leads nowhere", _one_nowhere, pause=0.05),  # else what sockets hold is read for a minute
    Kind("headers, one that is known", _one_known, pause=0.05),
    Kind("headers that fork at every height", _forks),
    Kind("headers, 2,000, times that jump, the last too old", _warped),
    Kind("getheaders, 2,000 each time", _headers_from_the_start),
    Kind("getheaders, 2,000 each time, never read", _headers_from_the_start, reading=Reading.NONE),
    Kind("getblocks, 500 each time", lambda *_: in_bulk(wire(GetBlocks((PARAMS.genesis_hash,), bytes(32))))),
    Kind("cmpctblock, then a wrong blocktxn", _compact_then_wrong),
    Kind("xthinblock, then a wrong xblocktx", _thin_then_wrong, both=False),
    Kind("getblocks, 69 bytes", lambda *_: in_bulk(wire(GetBlocks((bytes(32),), bytes(32))))),
    Kind("getheaders, 101 unknown hashes", _locator),
    Kind("headers, 2,000 with low work", _headers_low_work),
    Kind("headers, 2,000 that lead nowhere", _headers_nowhere),
    Kind("headers, 2,000, the last without work", _headers_bad_work),
    Kind("headers of a better chain whose blocks never come", _better_chain),
)


# -- transactions ----------------------------------------------------------------------------------------------------


def _orphans(world: World, _: int) -> Source:
    prevouts = [os.urandom(32) + n.to_bytes(4, "little") for n in range(ORPHAN_INPUTS)]
    tx = Tx(2, prevouts, [b""] * ORPHAN_INPUTS, [0] * ORPHAN_INPUTS, [make_txout(5_000, TRUE_PROGRAM)])
    return varied("tx", tx.raw, 10)


def _witness_elements(world: World, _: int) -> Source:
    tx = Tx(2, [os.urandom(36)], [b""], [0], [make_txout(5_000, TRUE_PROGRAM)], [[b""] * WITNESS_ELEMENTS])
    return varied("tx", tx.raw, 10)


def _large_tx(world: World, _: int) -> Source:
    """As large as a message may be: 97,000 inputs."""
    inputs = 97_000
    prevouts = [os.urandom(32) + n.to_bytes(4, "little") for n in range(inputs)]
    return varied("tx", Tx(2, prevouts, [b""] * inputs, [0] * inputs, [make_txout(5_000, TRUE_PROGRAM)]).raw, 12)


def _many_checks(world: World, _: int) -> Source:
    raw = checked_tx(world).raw
    return varied("tx", raw, raw.rfind(b"\x30\x44\x02\x20") + 10 if b"\x30\x44\x02\x20" in raw else len(raw) - 2400)


def _quadratic(world: World, _: int) -> Source:
    tx = quadratic_tx(world)
    at = tx.raw.index(tx.script_sigs[-1]) + 10
    return varied("tx", tx.raw, at)


def _families(world: World, connections: int) -> Source:
    """Ninety orphans of one parent, then the parent."""
    made = []
    for _ in range(connections):
        parent, family = orphan_family(world, 90)
        made.append([frame("tx", tx.raw) for tx in (*family, parent)])
    return lambda number: iter(made[number % len(made)])


def _replacements(world: World, connections: int) -> Source:
    """The same coin spent again and again, for a little more; each time two children go with it."""
    coins = world.take(connections)

    def frames(number: int) -> Frames:
        coin = coins[number % len(coins)]
        for fee in range(1_000, coin.value - 40_000, 1_500):
            tx = plain_tx(coin, fee, number)
            yield frame("tx", tx.raw)

    return frames


def _chains(world: World, connections: int) -> Source:
    """Chains of 24 unconfirmed transactions, replaced as a whole."""
    coins = world.take(connections)

    def frames(number: int) -> Frames:
        coin = coins[number % len(coins)]
        fee = 500
        while fee < coin.value // 2:
            tip, parts = coin, []
            first = fee
            for _ in range(24):
                tx = spend([tip], [make_txout(tip.value - first, TRUE_PROGRAM)])
                parts.append(frame("tx", tx.raw))
                (tip,) = outputs_of(tx, 1, tip.value - first)
                first = 300
            yield b"".join(parts)
            fee += 24 * 300 + 1_000

    return frames


def _slow_script(world: World, _: int) -> Source:
    raw = slow_tx(world).raw
    return varied("tx", raw, raw.index(b"\x08" + bytes(8)) + 1)


def _bad_packages(world: World, _: int) -> Source:
    """A parent that pays too little with ever other children."""
    parent, child = cheap_parent(world)
    raw, first = child.raw, frame("tx", parent.raw)
    children = varied("tx", raw, raw.rfind(b"\x30\x44\x02\x20") + 10)
    return lambda number: (data for one in children(number) for data in (one, first))


def _inv_known(world: World, _: int) -> Source:
    items = tuple(InvItem(MSG_WTX, tx.wtxid) for tx in world.pool) * 10
    return for_ever(wire(Inv(items[:50_000])))


def _inv(world: World, _: int) -> Source:
    items = tuple(InvItem(MSG_WTX, os.urandom(32)) for _ in range(50_000))
    return varied("inv", Inv(items).encode(), 12)


def _inv_blocks(world: World, _: int) -> Source:
    items = tuple(InvItem(MSG_BLOCK, os.urandom(32)) for _ in range(50_000))
    return varied("inv", Inv(items).encode(), 12)


def _not_found(world: World, _: int) -> Source:
    return for_ever(wire(NotFound(tuple(InvItem(MSG_TX, os.urandom(32)) for _ in range(5_000)))))


def _cascades(world: World, connections: int) -> Source:
    """Chains of 60 orphans, the last one first, until the first one comes."""
    made = []
    for _ in range(connections):
        (coin,) = world.take()
        parts = []
        for n in range(60):
            tx = spend([coin], [make_txout(coin.value - 200 - n, TRUE_PROGRAM)])
            parts.append(frame("tx", tx.raw))
            (coin,) = outputs_of(tx, 1, coin.value - 200 - n)
        made.append(parts[::-1])
    return lambda number: iter(made[number % len(made)])


def _many_replaced(world: World, connections: int) -> Source:
    """A hundred transactions, then one that spends the coins of all; again and again for more."""
    coins = [world.take(80) for _ in range(min(connections, 30))]

    def frames(number: int) -> Frames:
        mine = coins[number % len(coins)]
        total = sum(coin.value for coin in mine)
        for n in range(12):
            each = 200 + 6_000 * n
            yield b"".join(
                [frame("tx", spend([one], [make_txout(one.value - each, TRUE_PROGRAM)]).raw) for one in mine]
            )
            paid = len(mine) * (each + 2_500)
            yield frame("tx", spend(mine, [make_txout(total - paid, TRUE_PROGRAM)]).raw)

    return frames


def _dense_clusters(world: World, connections: int) -> Source:
    """Clusters of 63 whose best order is hard to find: each child spends of many parents, for a fee like no other's."""
    coins = [world.take(20) for _ in range(min(connections, 30))]

    def frames(number: int) -> Frames:
        rng, mine = Random(number), coins[number % len(coins)]
        total = sum(coin.value for coin in mine)
        for n in range(30):
            each = (total - 10_000 - 30_000 * n) // 32
            root = spend(mine, [make_txout(each, TRUE_PROGRAM)] * 32)
            parents = []
            for out in outputs_of(root, 32, each):
                value = (each - rng.randrange(500, 3_000)) // 8
                parents.append(outputs_of(tx := spend([out], [make_txout(value, TRUE_PROGRAM)] * 8), 8, value))
                yield frame("tx", (root if len(parents) == 1 else tx).raw)
                if len(parents) == 1:
                    yield frame("tx", tx.raw)
            for _ in range(30):
                chosen = sorted(parents, key=lambda outs: (-len(outs), rng.random()))[:8]
                inputs = [outs.pop() for outs in chosen]
                left = sum(one.value for one in inputs) - rng.randrange(1_500, 9_000)
                yield frame("tx", spend(inputs, [make_txout(left, TRUE_PROGRAM)]).raw)

    return frames


def _double_spends(world: World, _: int) -> Source:
    """Spends of one coin without end, for fees that differ: each is checked against the one that is there."""
    (coin,) = world.take()

    def frames(number: int) -> Frames:
        for n in count():
            fee = 1_000 + (number * 131 + n) % 900  # never enough to replace another one
            yield frame("tx", plain_tx(coin, fee, number << 32 | n).raw)

    return frames


def _refused_replacement(world: World, connections: int) -> Source:
    """Fifty chains of 24, then ever others that would replace them all, and pay a little too little."""
    count_of_chains = 50
    setup: list[bytes] = []
    firsts, fees = world.take(count_of_chains), 0
    for first in firsts:
        coin = first
        for _ in range(24):
            tx = spend([coin], [make_txout(coin.value - 300, TRUE_PROGRAM)])
            setup.append(frame("tx", tx.raw))
            (coin,) = outputs_of(tx, 1, coin.value - 300)
            fees += 300
    total = sum(coin.value for coin in firsts)

    def frames(number: int) -> Frames:
        if not number:
            yield b"".join(setup)
        for n in count():
            paid = fees + 60 + (number * 7 + n) % 50
            script = b"\x6a\x08" + (number << 32 | n).to_bytes(8, "little")
            yield frame("tx", spend(firsts, [make_txout(total - paid, TRUE_PROGRAM), make_txout(0, script)]).raw)

    return frames


def _known(world: World, _: int) -> Source:
    return for_ever(b"".join([frame("tx", tx.raw) for tx in world.pool[100:400]]))


def _get_known(world: World, _: int) -> Source:
    """All of the mempool, again and again; an attacker learns it by asking for it."""
    request = wire(GetData((tuple(InvItem(MSG_WTX, tx.wtxid) for tx in world.pool) * 10)[:50_000]))
    return lambda _: chain([wire(Mempool())], repeat(request))


def _numbered(command: str, payload: bytes, at: int, together: int) -> Source:
    """Small messages, many at a time, each with another number at ``at``."""

    def frames(number: int) -> Frames:
        head, tail = payload[:at], payload[at + 8 :]
        for n in count():
            first = (number << 40) + n * together
            yield b"".join(
                [frame(command, b"".join((head, (first + i).to_bytes(8, "little"), tail))) for i in range(together)]
            )

    return frames


def _one_unknown(kind: int) -> Source:
    return _numbered("inv", Inv((InvItem(kind, bytes(32)),)).encode(), 10, 300)


def _small_orphans(world: World, _: int) -> Source:
    tx = Tx(2, [os.urandom(36)], [b""], [0], [make_txout(5_000, TRUE_PROGRAM)])
    return _numbered("tx", tx.raw, 10, 200)


def _valid(world: World, connections: int) -> Source:
    """Each connection has transactions of its own, all of them good."""
    share = min(200, len(world.coins) // connections)
    made = [
        b"".join([frame("tx", plain_tx(coin, 1_000, n).raw) for coin in world.take(share)]) for n in range(connections)
    ]
    return lambda number: iter([made[number % connections]])


TRANSACTIONS = (
    Kind("orphans of 94 bytes", _small_orphans),
    Kind("tx of 60 bytes, ever others", lambda *_: _numbered("tx", TINY_TX, 10, 300)),
    Kind("tx, good ones of everybody", _valid),
    Kind("inv, one unknown", lambda *_: _numbered("inv", Inv((InvItem(MSG_WTX, bytes(32)),)).encode(), 10, 300)),
    Kind(
        "inv, one unknown block", lambda *_: _numbered("inv", Inv((InvItem(MSG_BLOCK, bytes(32)),)).encode(), 10, 300)
    ),
    Kind("orphans in chains of 60, resolved by the last", _cascades),
    Kind("80 transactions replaced by one, again and again", _many_replaced),
    Kind("clusters of 63, dense, replaced", _dense_clusters),
    Kind("spends of one coin", _double_spends),
    Kind("replacements of 1,200 transactions, refused", _refused_replacement, few=True),
    Kind("tx, known ones", _known, pool=True),
    Kind("getdata, 50,000 known transactions", _get_known, pool=True),
    Kind("getdata, 50,000 known transactions, never read", _get_known, pool=True, reading=Reading.NONE),
    Kind("tx that is none", lambda *_: for_ever(frame("tx", b"\2\0\0\0\xfd\xff\xff" + bytes(60_000)))),
    Kind("notfound, 50,000", lambda *_: for_ever(wire(NotFound((InvItem(MSG_TX, bytes(32)),) * 50_000)))),
    Kind("orphans with 2,400 inputs", _orphans),
    Kind("tx with 190,000 witness elements", _witness_elements),
    Kind("tx of 4 MB, 97,000 inputs", _large_tx),
    Kind("tx with 1,200 checks, the last wrong", _many_checks),
    Kind("tx with quadratic hashing, the last input wrong", _quadratic),
    Kind("tx with a tapscript of 380,000 operations, false", _slow_script),
    Kind("packages, the child's last of 1,200 checks wrong", _bad_packages),
    Kind("90 orphans resolved at once", _families),
    Kind("replacements", _replacements),
    Kind("chains of 24, replaced", _chains),
    Kind("inv, 50,000 unknown", _inv),
    Kind("inv, 50,000 unknown blocks", _inv_blocks),
    Kind("inv, 50,000 known", _inv_known, pool=True),
    Kind("notfound, 5,000", _not_found),
)


# -- requests --------------------------------------------------------------------------------------------------------


def _ask(kind: int, block_hash: bytes, number: int = 50_000, before: bytes = b"") -> Source:
    request = wire(GetData((InvItem(kind, block_hash),) * number))
    return lambda _: chain([before] if before else [], repeat(request))


def _filters(world: World, _: int) -> Source:
    return in_bulk(wire(GetCFilters(0, max(1, len(world.blocks) - 999), world.tip)))


def _filter_headers(world: World, _: int) -> Source:
    return in_bulk(wire(GetCFHeaders(0, max(1, len(world.blocks) - 1999), world.tip)))


def _get_spent(world: World, _: int) -> Source:
    return in_bulk(wire(GetBlockSpent(0, _hash_of(world.busy))))


def _get_xthin(world: World, _: int) -> Source:
    """A filter that misses nothing by its first 49 functions."""
    return for_ever(wire(GetXThin(_hash_of(world.busy), b"\xff" * 36_000, 50, 0)))


def _get_xthin_alternating(world: World, _: int) -> Source:
    hashes = [_hash_of(raw) for raw in (world.busy, world.fat)]
    return for_ever(*[wire(GetXThin(block_hash, b"\xff" * 36_000, 50, 0)) for block_hash in hashes])


def _get_xblocktx(world: World, _: int) -> Source:
    block = parse_block(world.busy)
    hashes = tuple(wtxid[:8] for wtxid in block.wtxids)
    return for_ever(wire(GetXBlockTx(_hash_of(world.busy), hashes)))


def _block_filter(world: World) -> FilterLoad:
    """One that has nothing of the first transactions of the busy block, and tells so late."""
    block = parse_block(world.busy)
    txs = [block.tx(n) for n in range(300)]
    return worst_filter([part for tx in txs for part in (tx.txid, tx.prevouts[0], tx.txouts[0][-32:])])


def _filtered_mempool(filter_: FilterLoad) -> Source:
    """A filter and the question what of the mempool it matches, again and again."""
    return for_ever(wire(filter_), wire(Mempool()))


def _get_proof(world: World, _: int) -> Source:
    return in_bulk(wire(GetUtreexoProof(_hash_of(world.busy))))


def _get_proof_parts(world: World, _: int) -> Source:
    """Bitmaps as large as they may be."""
    request = GetUtreexoProof(
        _hash_of(world.busy), 0, b"\xff" * (MAX_UTREEXO_HASHES // 8), b"\xff" * (MAX_BLOCK_INPUTS // 8)
    )
    return for_ever(wire(request))


def _get_chunks(world: World, _: int) -> Source:
    """Of a block that is known, of whose set nothing is here."""
    return in_bulk(wire(GetUtxoSet(_hash_of(world.busy), 0)))


REQUESTS = (
    Kind("getutxoset, no such set", _get_chunks, both=False, features=SETS),
    Kind(
        "getutxotree, no such set", lambda world, _: in_bulk(wire(GetUtxoTree(_hash_of(world.busy)))), both=False,
        features=SETS,
    ),
    Kind("getutxoset without the feature", _get_chunks, both=False),
    Kind("getuproof of a busy block", _get_proof, both=False, few=True),
    Kind("getuproof of a busy block, never read", _get_proof, both=False, reading=Reading.NONE),
    Kind("getuproof of a busy block, largest bitmaps", _get_proof_parts, both=False),
    Kind("getuproof of an unknown block", lambda *_: in_bulk(wire(GetUtreexoProof(b"?" * 32))), both=False),
    Kind("geturoot of a busy block", lambda world, _: in_bulk(wire(GetUtreexoRoot(_hash_of(world.busy)))), both=False),
    Kind("getdata, 50,000 unknown transactions", lambda *_: _ask(MSG_WTX, b"\5" * 32)),
    Kind("getdata, the same 4 MB block", lambda world, _: _ask(MSG_WITNESS_BLOCK, _hash_of(world.fat))),
    Kind(
        "getdata, the same 4 MB block, never read", lambda world, _: _ask(MSG_WITNESS_BLOCK, _hash_of(world.fat)),
        reading=Reading.NONE,
    ),
    Kind("getdata, a busy block without witnesses", lambda world, _: _ask(MSG_BLOCK, _hash_of(world.busy)), few=True),
    Kind("getdata, compact form of a busy block", lambda world, _: _ask(MSG_CMPCT_BLOCK, _hash_of(world.busy))),
    Kind(
        "getdata, a busy block filtered",
        lambda world, _: _ask(MSG_FILTERED_BLOCK, _hash_of(world.busy), 500, wire(_block_filter(world))),
    ),
    Kind("mempool", lambda *_: in_bulk(wire(Mempool()), 1_200), pool=True),
    Kind("mempool, never read", lambda *_: in_bulk(wire(Mempool()), 1_200), pool=True, reading=Reading.NONE),
    Kind("mempool, read slowly", lambda *_: in_bulk(wire(Mempool()), 1_200), pool=True, reading=Reading.SLOW),
    Kind("mempool, matched by a filter of 50 functions", lambda *_: _filtered_mempool(worst_filter(PUSHED)), pool=True),
    Kind("filterload", lambda *_: for_ever(wire(EMPTY_FILTER))),
    Kind("filteradd", lambda *_: lambda _: chain([wire(EMPTY_FILTER)], repeat(wire(FilterAdd(bytes(520))) * 100))),
    Kind("getcfilters, 1,000", _filters),
    Kind("getcfilters, 1,000, never read", _filters, reading=Reading.NONE),
    Kind("getcfheaders, 2,000", _filter_headers),
    Kind("getcfcheckpt", lambda world, _: in_bulk(wire(GetCFCheckpt(0, world.tip)))),
    Kind("get_xthin of a busy block, 50 functions", _get_xthin, both=False),
    Kind("get_xthin of two blocks in turn", _get_xthin_alternating, both=False),
    Kind("get_xblocktx, all of a busy block", _get_xblocktx, both=False),
    Kind("getbspent of a busy block", _get_spent, both=False),
    Kind("getbspent of a busy block, never read", _get_spent, both=False, reading=Reading.NONE),
    Kind("getbspent of an unknown block", lambda *_: in_bulk(wire(GetBlockSpent(0, b"?" * 32))), both=False),
)  # fmt: skip


# -- small ones ------------------------------------------------------------------------------------------------------


def _addresses(kind: type[Addr | AddrV2]) -> Source:
    def frames(number: int) -> Frames:
        for n in count():
            entries = tuple(
                AddrEntry(1_700_000_000, 9, NetAddress.from_host(f"{1 + number}.{n % 250}.{i // 250}.{i % 250}", 8333))
                for i in range(1000)
            )
            yield wire(kind(entries))

    return frames


def _merkle_block(world: World, _: int) -> Source:
    hashes = tuple(n.to_bytes(32, "little") for n in range(120_000))
    return _regrinding(
        world, "merkleblock", MerkleBlock(bytes(80), 200_000, hashes, bytes(30_000)).encode()[80:], world.tip
    )


def _unknown_commands(world: World, _: int) -> Source:
    def frames(number: int) -> Frames:
        for n in count():
            yield b"".join([frame(f"x{number}y{n * 500 + i}"[:12]) for i in range(500)])

    return frames


BAD_CHECKSUM = frame("ping")[:20] + b"\1\2\3\4"
BAD_COMMAND = frame("ping")[:4] + b"a\0b" + bytes(9) + frame("ping")[16:]
VERSION = wire(Version(services=9, time=0, nonce=5))


def _unknown_networks(world: World, _: int) -> Source:
    """As many addresses of as many bytes as a message may have, of a network that nobody knows."""
    entry = bytes(4) + b"\x09" + b"\x77" + compact_size(512) + bytes(512) + b"\x20\x8d"
    return for_ever(frame("addrv2", compact_size(1_000) + entry * 1_000))


SMALL = (
    Kind("addrv2, 1,000 of 512 bytes", _unknown_networks),
    Kind("wtxidrelay after verack", lambda *_: for_ever(frame("wtxidrelay"))),
    Kind(
        "sendheaders, filterclear",
        lambda *_: in_bulk(frame("sendheaders") + frame("filterclear"), 6_000),
        pause=0.05,  # what the socket takes would be read for minutes, at the pace of somebody's who has overspent
    ),
    Kind(
        "getcfheaders that go too far",
        lambda world, _: in_bulk(wire(GetCFHeaders(0, 0, world.tip)) + wire(GetCFilters(0, 0, bytes(32)))),
    ),
    Kind("empty frames, wrong checksum", lambda *_: in_bulk(BAD_CHECKSUM)),
    Kind("empty frames, impossible command", lambda *_: in_bulk(BAD_COMMAND)),
    Kind("unknown commands", _unknown_commands),
    Kind("ping", lambda *_: in_bulk(wire(Ping(1)))),
    Kind("ping, never read", lambda *_: in_bulk(wire(Ping(1))), reading=Reading.NONE),
    Kind("pong", lambda *_: in_bulk(wire(Pong(1)))),
    Kind("feefilter", lambda *_: in_bulk(wire(FeeFilter(1000)))),
    Kind("sendcmpct, on and off", lambda *_: in_bulk(wire(SendCmpct(True)) + wire(SendCmpct(False)))),
    Kind("getaddr", lambda *_: in_bulk(wire(GetAddr()))),
    Kind("addr, 1,000", lambda *_: _addresses(Addr)),
    Kind("addrv2, 1,000", lambda *_: _addresses(AddrV2)),
    Kind("sendtxrcncl after verack", lambda *_: in_bulk(wire(SendTxRcncl(1, 7)))),
    Kind("version again", lambda *_: in_bulk(VERSION)),
    Kind("messages before version", lambda *_: in_bulk(wire(Ping(1))), greet=False),
    Kind("merkleblock of 4 MB, unasked", _merkle_block),
    Kind("unknown command of 4 MB, encrypted", lambda *_: for_ever(frame("x", bytes(4_000_000))), v2=True),
    Kind(
        "getdata, the same 4 MB block, encrypted",
        lambda world, _: _ask(MSG_WITNESS_BLOCK, _hash_of(world.fat)),
        v2=True,
    ),
    Kind("ping, encrypted", lambda *_: in_bulk(wire(Ping(1))), v2=True),
)
