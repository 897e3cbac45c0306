"""Undo data in Bitcoin Core's form (CBlockUndo), and its compression of amounts and scripts.

Coins go in and come out packed (``primitives/coin.py``). A coin in undo data is
``VARINT(code) [00 when height > 0] VARINT(compressed amount) compressed script``; VARINT is Core's base-128 number
with the most significant byte first, in which every number has one form only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from struct import Struct

from btcnode.compiled import current
from btcnode.errors import DecodeError
from btcnode.primitives.coin import coin_prefix, make_txout
from btcnode.primitives.compactsize import MAX_SIZE, compact_size, read_compact_size
from btcnode.script.signatures import is_valid_pubkey, uncompressed_pubkey

SPECIAL_SCRIPTS = 6
MAX_SCRIPT_SIZE = 10_000
OVERLONG_SCRIPT = b"\x6a"  # Core puts OP_RETURN in the place of a script that is too long to be spent

P2PKH_HEAD, P2PKH_TAIL = (
    b"\x19\x76\xa9\x14",
    b"\x88\xac",
)  # the size's byte, then DUP HASH160 push; EQUALVERIFY CHECKSIG
P2SH_HEAD, P2SH_TAIL = b"\x17\xa9\x14", b"\x87"
P2PK_TAIL = b"\xac"
PLAIN_MAX = 127 - SPECIAL_SCRIPTS  # longest script whose size is a VARINT of one byte

_LAST = [bytes((n,)) for n in range(128)]
_MORE = [bytes((n | 0x80,)) for n in range(128)]


@cache
def _of_two_bytes() -> tuple[list[bytes], list[bytes]]:
    """All pairs of bytes that end a VARINT, and all that go on: 33,000 objects, not made before they are needed."""
    return [a + b for a in _MORE for b in _LAST], [a + b for a in _MORE for b in _MORE]


_SIZES = [bytes((n,)) for n in range(PLAIN_MAX + 1)]
_POWERS = [10**n for n in range(10)]
MAX_PACKED, MAX_USUAL = 1 << 50, 1 << 60  # of amounts, compressed and plain: those above are looked at closely
_code_of, _value_of = itemgetter(slice(0, 4)), itemgetter(slice(4, 12))
_PLAIN_SIZE = [_LAST[n + SPECIAL_SCRIPTS] for n in range(PLAIN_MAX + 1)]
MAX_CODES = 1 << 13  # that are remembered, 200 bytes each


def encode_varint(n: int) -> bytes:
    """Core's VARINT of a number that is not negative."""
    if n < 0x80:
        return _LAST[n]
    last2, more2 = _of_two_bytes()
    if n < 0x4080:
        return last2[n - 0x80]
    if n < 0x204080:
        n -= 0x4080
        return _MORE[n >> 14] + last2[n & 0x3FFF]
    if n < 0x10204080:
        n -= 0x204080
        return more2[n >> 14] + last2[n & 0x3FFF]
    if n < 0x810204080:
        n -= 0x10204080
        return _MORE[n >> 28] + more2[n >> 14 & 0x3FFF] + last2[n & 0x3FFF]
    out = bytearray((n & 0x7F,))
    while n > 0x7F:
        n = (n >> 7) - 1
        out.append(n & 0x7F | 0x80)
    return bytes(out[::-1])


def read_varint(data: bytes, pos: int, limit: int = 2**64 - 1) -> tuple[int, int]:
    """Read a VARINT at ``pos``; returns ``(value, position after it)``.

    Raises DecodeError when truncated or above ``limit``.
    """
    n = 0
    try:
        while True:
            byte = data[pos]
            pos += 1
            n = n << 7 | byte & 0x7F
            if n > limit:
                raise DecodeError("VARINT above its limit")
            if byte < 0x80:
                return n, pos
            n += 1
    except IndexError:
        raise DecodeError("truncated VARINT") from None


def compress_amount(n: int) -> int:
    """Core's CompressAmount: an amount with trailing decimal zeros becomes a small number."""
    if not n:
        return 0
    e = 0
    if not n % 100_000:
        n //= 100_000
        e = 5
    while e < 9 and not n % 10:
        n //= 10
        e += 1
    if e < 9:
        n, d = divmod(n, 10)
        return 1 + (n * 9 + d - 1) * 10 + e
    return 1 + (n - 1) * 10 + 9


def decompress_amount(x: int) -> int:
    """The inverse of ``compress_amount``."""
    if not x:
        return 0
    x, e = divmod(x - 1, 10)
    if e < 9:
        x, d = divmod(x, 9)
        return int((x * 10 + d + 1) * 10**e)
    return int((x + 1) * 10**e)


def _compress_odd_script(coin: bytes) -> bytes:
    """The compressed script of a coin that is neither P2PKH nor P2SH nor short: P2PK or long."""
    size, pos = read_compact_size(coin, 12)
    script = coin[pos:]
    if len(script) != size:
        raise DecodeError("a packed coin has a wrong length")
    if size == 35 and script[0] == 33 and script[1] in (2, 3) and script[34] == 0xAC:
        return script[1:34]
    # only points of the curve can be restored from x and parity
    if size == 67 and script[0] == 65 and script[1] == 4 and script[66] == 0xAC and is_valid_pubkey(script[1:66]):
        return bytes((4 | script[65] & 1,)) + script[2:34]
    return encode_varint(size + SPECIAL_SCRIPTS) + script


def _least(compressed: int) -> int:
    """The smallest amount for which ``10 * (n - n // 10) - 9`` is at least ``compressed``."""
    tenths = -(-(compressed + 9) // 10)
    return tenths + (tenths - 1) // 9


_FOUR_BYTES, _FIVE_BYTES, _SIX_BYTES = map(_least, (0x204080, 0x10204080, 0x810204080))
"""Amounts from which a VARINT of the compressed one takes so many bytes, where it has no trailing zeros."""


class _Codes(dict[bytes, bytes]):
    """Packed codes of coins and what undo data has for them: a block spends coins of few heights, mostly recent."""

    def __missing__(self, packed: bytes) -> bytes:
        """Work it out, and keep it."""
        if len(self) >= MAX_CODES:
            self.clear()
        code = int.from_bytes(packed, "little")
        # behind a height above 0 stands the byte that once was a version
        self[packed] = prefix = encode_varint(code) + (b"\x00" if code > 1 else b"")
        return prefix


_codes = _Codes()


def encode_coins(coins: Sequence[bytes]) -> bytes:
    """CTxUndo: the coins that one transaction spends, in order of its inputs."""
    return b"".join([compact_size(len(coins)), *_code_amount_script(coins)])


def _compress_script(coin: bytes) -> bytes:
    size = coin[12]
    if size == 25 and coin[12:16] == P2PKH_HEAD and coin[36:] == P2PKH_TAIL:
        return b"\x00" + coin[16:36]
    if size == 23 and coin[12:15] == P2SH_HEAD and coin[35:] == P2SH_TAIL:
        return b"\x01" + coin[15:35]
    if size == 35 or size == 67 or size > PLAIN_MAX:
        return _compress_odd_script(coin)
    return _PLAIN_SIZE[size] + coin[13:]


def _code_amount_script(coins: Sequence[bytes]) -> list[bytes]:
    """Three parts of each coin, one behind the other; of what nearly all coins are like each without a call."""
    (last2, more2), more, plain = _of_two_bytes(), _MORE, _PLAIN_SIZE
    parts = [b""] * (3 * len(coins))
    parts[0::3] = map(_codes.__getitem__, map(_code_of, coins))
    values = Struct(f"<{len(coins)}Q").unpack(b"".join(map(_value_of, coins)))
    amounts = {  # many are equal: dust, and what pools and exchanges pay
        # of an amount without trailing zeros compress_amount makes 10 * (n - n // 10) - 9
        n: more2[(x := 10 * (n - n // 10) - 0x204089) >> 14] + last2[x & 0x3FFF]
        if n % 10 and _FOUR_BYTES <= n < _FIVE_BYTES
        else more[(x := 10 * (n - n // 10) - 0x10204089) >> 28] + more2[x >> 14 & 0x3FFF] + last2[x & 0x3FFF]
        if n % 10 and _FIVE_BYTES <= n < _SIX_BYTES
        else encode_varint(compress_amount(n))
        for n in set(values)
    }
    parts[1::3] = map(amounts.__getitem__, values)
    parts[2::3] = [
        plain[size] + coin[13:] if (size := coin[12]) == 22 or size == 34 else _compress_script(coin) for coin in coins
    ]
    return parts


def encode_undo(undo: Sequence[Sequence[bytes]]) -> bytes:
    """CBlockUndo: for each transaction but the coinbase the packed coins that it spends, in order of its inputs."""
    kernels = current()
    if kernels is not None:
        run = b"".join(chain.from_iterable(undo))
        packed = kernels.encode_undo(compact_size(len(undo)), list(map(len, undo)), run)
        if packed is not None:
            return packed
    parts = _code_amount_script(list(chain.from_iterable(undo)))
    at, head = 0, compact_size(len(undo))
    for coins in undo:
        head += compact_size(len(coins))
        if coins:  # it stands before the first one
            parts[at] = head + parts[at]
            at, head = at + 3 * len(coins), b""
    parts.append(head)
    return b"".join(parts)


def decode_undo(data: bytes) -> list[list[bytes]]:
    """The inverse of ``encode_undo``; raises DecodeError for what is no CBlockUndo or longer than one."""
    count, pos = read_compact_size(data, 0)
    undo = []
    for _ in range(count):
        inputs, pos = read_compact_size(data, pos, MAX_SIZE)
        coins = []
        for _ in range(inputs):
            coin, pos = _usual_coin(data, pos) or _any_coin(data, pos)
            coins.append(coin)
        undo.append(coins)
    if pos != len(data):
        raise DecodeError(f"{len(data) - pos} bytes left over after the undo data")
    return undo


def _any_coin(data: bytes, pos: int) -> tuple[bytes, int]:
    """The packed coin at ``pos`` of undo data, and the position after it; raises DecodeError."""
    code, pos = read_varint(data, pos, 0xFFFFFFFF)
    if code > 1:
        _, pos = read_varint(data, pos, 0xFFFFFFFF)
    return _decode_rest(code, data, pos)


def _usual_coin(data: bytes, pos: int) -> tuple[bytes, int] | None:
    """The same for what nearly every coin is like, which takes half as long; None for another, or what is none."""
    try:
        byte = data[pos]
        code = byte & 0x7F
        while byte > 0x7F and code < 0x1000000:
            pos += 1
            byte = data[pos]
            code = (code + 1) << 7 | byte & 0x7F
        if byte > 0x7F or not 1 < code <= 0xFFFFFFFF or data[pos + 1]:
            return None
        pos += 2  # over the last byte, and the one that once was a version
        byte = data[pos]
        amount = byte & 0x7F
        while byte > 0x7F and amount < MAX_PACKED:
            pos += 1
            byte = data[pos]
            amount = (amount + 1) << 7 | byte & 0x7F
        kind = data[pos + 1]
    except IndexError:
        return None
    if byte > 0x7F or not amount:
        return None
    pos += 2
    amount, exponent = divmod(amount - 1, 10)
    if exponent < 9:
        amount, digit = divmod(amount, 9)
        amount = amount * 10 + digit
    value = (amount + 1) * _POWERS[exponent]
    if value > MAX_USUAL:
        return None
    head = code.to_bytes(4, "little") + value.to_bytes(8, "little")
    if kind == 0:
        end = pos + 20
        coin = head + P2PKH_HEAD + data[pos:end] + P2PKH_TAIL
    elif kind == 1:
        end = pos + 20
        coin = head + P2SH_HEAD + data[pos:end] + P2SH_TAIL
    elif SPECIAL_SCRIPTS <= kind < 0x80:
        end = pos + kind - SPECIAL_SCRIPTS
        coin = head + _SIZES[kind - SPECIAL_SCRIPTS] + data[pos:end]
    else:
        return None
    return (coin, end) if end <= len(data) else None


def compress_coin(coin: bytes) -> bytes:
    """One coin as chainstates and UTXO snapshots hold it: as in undo data, without the byte behind the code."""
    code = int.from_bytes(coin[:4], "little")
    return encode_varint(code) + encode_coins((coin,))[1 + len(_codes[coin[:4]]) :]


def decompress_coin(data: bytes, pos: int = 0) -> tuple[bytes, int]:
    """The packed coin at ``pos`` in the form of ``compress_coin``, and the position after it; raises DecodeError."""
    code, pos = read_varint(data, pos, 0xFFFFFFFF)
    return _decode_rest(code, data, pos)


def _decode_rest(code: int, data: bytes, pos: int) -> tuple[bytes, int]:
    """Amount and script at ``pos``, packed with the coin's code."""
    amount, pos = read_varint(data, pos)
    value = decompress_amount(amount)
    if value >= 2**63:
        raise DecodeError("amount out of range")
    kind, pos = read_varint(data, pos, MAX_SIZE)
    size = kind - SPECIAL_SCRIPTS if kind >= SPECIAL_SCRIPTS else 20 if kind < 2 else 32
    end = pos + size
    body = data[pos:end]
    if len(body) != size:
        raise DecodeError("truncated script")
    return coin_prefix(code >> 1, bool(code & 1)) + make_txout(value, _expand_script(kind, body)), end


def _expand_script(kind: int, body: bytes) -> bytes:
    """The script of a compressed one."""
    if kind >= SPECIAL_SCRIPTS:
        return body if len(body) <= MAX_SCRIPT_SIZE else OVERLONG_SCRIPT
    if kind == 0:
        return P2PKH_HEAD[1:] + body + P2PKH_TAIL
    if kind == 1:
        return P2SH_HEAD[1:] + body + P2SH_TAIL
    if kind in (2, 3):
        return b"\x21" + bytes((kind,)) + body + P2PK_TAIL
    try:
        key = uncompressed_pubkey(bytes((kind - 2,)) + body)
    except ValueError:
        raise DecodeError("compressed script with an x that is not on the curve") from None
    return b"\x41" + key + P2PK_TAIL
