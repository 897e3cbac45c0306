"""Random bytes for what SwiftSync reads of strangers, and random ends for nodes that sync with hints; by seed."""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.coin import make_coin
from btcnode.storage.undo import decode_undo, encode_undo
from btcnode.swiftsync.elias_fano import MAX_INDEX, decode_indices, encode_indices
from btcnode.swiftsync.hints import pack_header, read_index
from btcnode.swiftsync.spent_coins import count_spent, decode_spent, spent_of_undo
from tests.lib.peer import ChainServer
from tests.lib.process import wait_until
from tests.lib.spent import tell, told_by_hash
from tests.lib.swift_nodes import figures, hinted, run


def bend(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed, cut out, put in, or none."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 5))):
        at = rng.randrange(len(changed) + 1)
        how = rng.randrange(4)
        if how == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            changed[at:at] = rng.randbytes(rng.choice((1, 2, 9)))
        elif how == 2:
            del changed[at : at + rng.choice((1, 3, 50))]
        elif at < len(changed):
            changed[at] = rng.choice((0x00, 0xFC, 0xFD, 0xFE, 0xFF))
    return bytes(changed)


def _indices(rng: random.Random) -> list[int]:
    top = rng.choice((1, 8, 300, 20_000, MAX_INDEX))
    count = min(top, rng.choice((0, 1, 2, 7, 60, 900)))
    return sorted(rng.sample(range(top + 1), count))


def hints_once(rng: random.Random) -> str:
    """Read one hintsfile, good or bent: nothing but HintsError may come of it, and what is read is what was written."""
    rows = [_indices(rng) for _ in range(rng.randrange(1, 12))]
    whole = pack_header(len(rows)) + b"".join(map(encode_indices, rows))
    data = bend(rng, whole)
    try:
        index = read_index(io.BytesIO(data), len(data))
    except DecodeError:
        assert data != whole
        return "refused"
    found, refused = [], 0
    for height in range(1, index.height + 1):
        start, size = index.place(height)
        try:
            found.append(decode_indices(data[start : start + size]))
        except DecodeError:
            refused += 1
    assert refused or pack_header(index.height) + b"".join(map(encode_indices, found)) == data  # one form only
    assert data != whole or found == rows
    return "refused in a block" if refused else "read"


def _script(rng: random.Random) -> bytes:
    size = rng.choice((0, 1, 20, 22, 25, 67, 121, 122, 252, 253, 10_000))
    return rng.choice((
        rng.randbytes(size), b"\x76\xa9\x14" + rng.randbytes(20) + b"\x88\xac",
        b"\xa9\x14" + rng.randbytes(20) + b"\x87",
        b"\x00\x14" + rng.randbytes(20), b"\x00\x20" + rng.randbytes(32), b"\x51\x20" + rng.randbytes(32),
        b"\x21" + rng.choice((b"\2", b"\3")) + rng.randbytes(32) + b"\xac", b"\x41\x04" + rng.randbytes(64) + b"\xac",
    ))  # fmt: skip


def spent_once(rng: random.Random) -> str:
    """Tell and read the spent coins of one block, good or bent: nothing but DecodeError may come of it."""
    coins = [
        make_coin(rng.randrange(1 << 31), rng.random() < 0.2, rng.choice((0, 1, 546, 10**8, 21 * 10**14)), _script(rng))
        for _ in range(rng.choice((0, 1, 2, 30)))
    ]
    undo = bend(rng, encode_undo([coins[:1], coins[1:]]))
    try:
        parts = list(spent_of_undo(undo, 0))
        assert sum(told for told, _ in parts) == sum(map(len, decode_undo(undo)))
    except DecodeError:
        pass
    whole = tell(coins)
    data = bend(rng, whole)
    assert count_spent(data) * 11 <= len(data)
    try:
        found = decode_spent(data, len(coins))
    except DecodeError:
        assert data != whole
        return "refused"
    assert len(found) == len(coins)
    assert data != whole or found == coins
    return "read"


def fuzz(rounds: int, seed: int) -> Counter[str]:
    """So many rounds of each; how each ended."""
    seen = Counter[str]()
    for kind, once in (("hints", hints_once), ("spent coins", spent_once)):
        for number in range(rounds):
            rng = random.Random(f"{kind} {seed} {number}")
            try:
                seen[f"{kind} {once(rng)}"] += 1
            except Exception as error:
                error.add_note(f"{kind}, seed {seed}, round {number}")
                raise
    return seen


def kill_often(
    params: NetworkParams, chain: Sequence[bytes], above: int, kind: str, kills: int, seed: int, folder: Path
) -> None:
    """Sync a node with hints for the block ``above`` blocks below the tip, and kill it so often; of ``KINDS``.

    Its UTXO set must be that of a node that has synced as usual, and the hints must have served. Raises AssertionError.
    """
    rng = random.Random(f"{kind} {seed}")
    words = hinted(folder / "hints", chain, above, kind)
    with ChainServer.of_blocks(params, chain) as server:
        with run(folder / "usual", server.address).start() as usual:
            usual.wait_height(len(chain))
            expected = figures(usual)
        server.spent = told_by_hash(chain)

        def slowly(_: bytes, raw: bytes) -> bytes:
            time.sleep(0.01)
            return raw

        server.on_block = slowly
        with run(folder / "node", server.address, *words) as node:
            for _ in range(kills):
                node.start()
                time.sleep(rng.uniform(0, 0.8))
                node.kill()
            node.start()
            node.wait_height(len(chain), timeout=300.0)
            wait_until(lambda: len(node.rpc("getchainstates")["chainstates"]) == 1, 300.0, what="validation below N")
            assert figures(node) == expected
            assert "SwiftSync has brought the chain to height" in node.output()
            assert "SwiftSync has failed" not in node.output() and "Traceback" not in node.output()
            assert node.stop() == 0
