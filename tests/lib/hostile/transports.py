"""Attacks below messages: handshakes, frames that never end, connections that come and go, and HTTP."""

from __future__ import annotations

import json
import os
import struct
from itertools import chain, repeat

from btcnode.descriptors.checksum import with_checksum
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.wire.messages import Version
from tests.lib.hostile.kinds import LOGIN, Door, Frames, Kind, Reading, Source, for_ever, frame, once
from tests.lib.hostile.world import PARAMS, World


def _claimed(world: World, _: int) -> Source:
    """A block of 4 MB is announced; nearly all of it comes at once, the rest byte by byte."""
    whole = frame("block", bytes(4_000_000))
    return lambda _: chain([whole[:3_900_000]], repeat(b"\0"))


def _claimed_slowly(world: World, _: int) -> Source:
    """The same, but it goes on as slowly as is allowed."""
    whole = frame("block", bytes(4_000_000))
    return lambda _: chain([whole[:3_000_000]], [bytes(20_000)] * 49)


def _claimed_transactions(world: World, _: int) -> Source:
    """Largest messages one after the other, each of which ends late."""
    whole = frame("tx", bytes(3_999_000))
    return lambda _: chain.from_iterable(repeat((whole[:3_990_000], whole[3_990_000:])))


def _version_trickle(world: World, _: int) -> Source:
    whole = frame("version", Version(services=9, time=0, nonce=5).encode())
    return lambda _: iter([whole[n : n + 1] for n in range(len(whole))])


def _oversized(world: World, _: int) -> Source:
    head = frame("block")
    return for_ever(head[:16] + struct.pack("<I", 2**31) + head[20:] + bytes(60_000))


def _comes_and_goes(world: World, _: int) -> Source:
    return for_ever(frame("version", Version(services=9, time=0, nonce=5).encode()) + frame("verack"))


def _v2_garbage(world: World, _: int) -> Source:
    """The handshake of version 2 with as much garbage as there may be, and no terminator."""

    def frames(number: int) -> Frames:
        while True:
            yield os.urandom(64 + 4095 + 16)

    return frames


def _v2_trickle(world: World, _: int) -> Source:
    """The same, byte by byte."""
    return lambda _: iter([bytes([byte]) for byte in os.urandom(64 + 4095 + 16)])


def _rest_block(world: World, _: int) -> Source:
    name = to_display(header_hash(world.fat[:HEADER_SIZE]))
    return for_ever(f"GET /rest/block/{name}.bin HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 1500)


def _rest_block_once(world: World, _: int) -> Source:
    name = to_display(header_hash(world.fat[:HEADER_SIZE]))
    return once(f"GET /rest/block/{name}.bin HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def _rest_block_json(world: World, _: int) -> Source:
    name = to_display(header_hash(world.busy[:HEADER_SIZE]))
    return for_ever(f"GET /rest/block/{name}.json HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 100)


def _rest_mempool(world: World, _: int) -> Source:
    return for_ever(b"GET /rest/mempool/contents.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)


def _rest_pipelined(path: str, count: int = 100) -> Source:
    return for_ever(f"GET /rest/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * count)


def _rest_headers(world: World, _: int) -> Source:
    return _rest_pipelined(f"headers/{to_display(PARAMS.genesis_hash)}.json?count=2000")


def _rest_filter_headers(world: World, _: int) -> Source:
    return _rest_pipelined(f"blockfilterheaders/basic/{to_display(PARAMS.genesis_hash)}.json?count=2000")


def _rest_spent(world: World, _: int) -> Source:
    return _rest_pipelined(f"spenttxouts/{to_display(header_hash(world.busy[:HEADER_SIZE]))}.json")


def _rest_outputs(world: World, _: int) -> Source:
    outpoints = "/".join(f"{to_display(coin.outpoint[:32])}-{n}" for n, coin in enumerate(list(world.coins)[:15]))
    return _rest_pipelined(f"getutxos/checkmempool/{outpoints}.json")


def _call(body: bytes) -> Source:
    """A user's call, once."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + LOGIN + b"\r\nContent-Length: "
    return once(head + str(len(body)).encode() + b"\r\n\r\n" + body)


def _calls(body: bytes) -> Source:
    """A user's calls, one after the other."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + LOGIN + b"\r\nContent-Length: "
    return for_ever(head + str(len(body)).encode() + b"\r\n\r\n" + body)


def _busy_in_full(world: World, _: int) -> Source:
    params = [to_display(header_hash(world.busy[:HEADER_SIZE])), 3]
    return _calls(json.dumps({"method": "getblock", "params": params}).encode())


def _heavy_batch(world: World, _: int) -> Source:
    """A thousand blocks in full in one request."""
    params = [to_display(header_hash(world.busy[:HEADER_SIZE])), 3]
    return _call(json.dumps([{"method": "getblock", "params": params, "id": n} for n in range(1_000)]).encode())


def _bad_password(world: World, _: int) -> Source:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\nContent-Length: 2\r\n\r\n[]"
    return for_ever(head * 100)


def _half_body(world: World, _: int) -> Source:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n"
    return lambda _: chain([head], repeat(bytes(60_000)))


def _endless_head(world: World, _: int) -> Source:
    return lambda _: chain([b"GET / HTTP/1.1\r\n"], repeat(b"X-Filler: " + b"a" * 70 + b"\r\n"))


def _import_endless(world: World, _: int) -> Source:
    """The user has a mempool imported from a file without end."""
    return _call(b'{"method": "importmempool", "params": ["/dev/zero"], "id": 1}')


def _many_addresses(world: World, _: int) -> Source:
    """A user wants to know what a million addresses have received in one block."""
    block = to_display(header_hash(world.busy[:HEADER_SIZE]))
    wanted = {"desc": RANGED, "range": 999_999}
    return _call(json.dumps({"method": "getdescriptoractivity", "params": [[block], [wanted]], "id": 1}).encode())


def _derives(world: World, _: int) -> Source:
    """Users want to know ten thousand addresses of a descriptor."""
    wanted = with_checksum(RANGED)
    return _call(json.dumps({"method": "deriveaddresses", "params": [wanted, [0, 9_999]], "id": 1}).encode())


def _chunked(world: World, _: int) -> Source:
    """A question of a stranger's whose body comes in chunks of a byte."""
    head = b"POST /rest/getutxos.json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return lambda _: chain([head], repeat(b"1\r\nx\r\n" * 10_000))


def _pipelined(path: str) -> Source:
    return for_ever(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 200)


def _watches(*_: object) -> Source:
    return once(b"GET /dashboard/feed HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic " + LOGIN + b"\r\n\r\n")


def _odd_wallets(world: World, _: int) -> Source:
    """Calls to wallets of names that no wallet has: long ones, paths, bytes that are no text."""
    names = [b"%2e%2e/%2e%2e/etc", b"x" * 4_000, b"%ff%fe", b"%00", b"a%2fb", b"", b"%25" * 500]
    body = b'{"method": "getwalletinfo"}'
    rest = b" HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + LOGIN + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    return for_ever(b"".join([b"POST /wallet/" + name + rest + body for name in names]) * 10)


RANGED = (  # test keys
    "wpkh(tpubD6NzVbkrYhZ4WaWSyoBvQwbpLkojyoTZPRsgXELWz3Popb3qkjcJyJUGLnL4qHHoQvao8ESaAstxYSnhyswJ76uZPStJRJCTKvosUCJZL5B/*)"
)
LONG_POLL = b'{"method": "getblocktemplate", "params": [{"rules": ["segwit"], "longpollid": 1}]}'

TRANSPORTS = (
    Kind("nothing: greeted, then silent", lambda *_: once()),
    Kind("frame of 4 MB that never ends", _claimed, pause=0.5),
    Kind("frame of 4 MB that ends as late as it may", _claimed_slowly, pause=1.0),
    Kind("frames of 4 MB, each in two parts", _claimed_transactions, pause=0.5),
    Kind("frame beyond all sizes", _oversized),
    Kind("version, byte by byte", _version_trickle, greet=False, pause=0.5),
    Kind("random bytes", lambda *_: lambda _: iter(lambda: os.urandom(30_000), b""), greet=False),
    Kind("connect, greet, close", _comes_and_goes, greet=False, churn=True),
    Kind("connect and close", lambda *_: for_ever(PARAMS.magic), greet=False, churn=True),
    Kind("encrypted handshake, garbage only", _v2_garbage, greet=False),
    Kind("encrypted handshake, garbage byte by byte", _v2_trickle, greet=False, pause=0.02),
    Kind("encrypted handshake, begun again and again", _v2_garbage, greet=False, churn=True),
    Kind("encrypted decoys", lambda *_: for_ever(b""), v2=True),
    Kind("encrypted handshake, completed again and again", lambda *_: for_ever(frame("ping")), v2=True, churn=True),
)

HTTP = (
    Kind("REST, a body in chunks of a byte", _chunked, door=Door.RPC),
    Kind("/health pipelined", lambda *_: _pipelined("/health"), door=Door.RPC, both=False),
    Kind("paths that are none pipelined", lambda *_: _pipelined("/x"), door=Door.RPC),
    Kind("metrics pipelined", lambda *_: _pipelined("/metrics"), door=Door.METRICS, both=False),
    Kind("REST, a 4 MB block pipelined, never read", _rest_block, door=Door.RPC, reading=Reading.NONE),
    Kind("REST, a 4 MB block, read slowly", _rest_block_once, door=Door.RPC, reading=Reading.SLOW),
    Kind("REST, a busy block as JSON pipelined", _rest_block_json, door=Door.RPC),
    Kind("REST, the mempool pipelined, never read", _rest_mempool, door=Door.RPC, reading=Reading.NONE, pool=True),
    Kind("REST, 2,000 headers as JSON pipelined", _rest_headers, door=Door.RPC),
    Kind("REST, 2,000 filter headers as JSON pipelined", _rest_filter_headers, door=Door.RPC),
    Kind("REST, spent outputs of a busy block as JSON pipelined", _rest_spent, door=Door.RPC),
    Kind("REST, 15 outputs pipelined", _rest_outputs, door=Door.RPC, pool=True),
    Kind("RPC, 200 wait for a template", lambda *_: _call(LONG_POLL), door=Door.RPC, fixed=200, pool=True, both=False),
    Kind(
        "RPC, 200 wait for a block",
        lambda *_: _call(b'{"method": "waitfornewblock"}'),
        door=Door.RPC,
        fixed=200,
        both=False,
    ),
    Kind("RPC, 16 read a busy block in full", _busy_in_full, door=Door.RPC, fixed=16),
    Kind("RPC, 16 read a busy block in full, never read", _busy_in_full, door=Door.RPC, fixed=16, reading=Reading.NONE),
    Kind("RPC, a thousand busy blocks in a batch, by 16", _heavy_batch, door=Door.RPC, fixed=16),
    Kind(
        "RPC, 16 read the mempool in full",
        lambda *_: _calls(b'{"method": "getrawmempool", "params": [true]}'),
        door=Door.RPC,
        fixed=16,
        pool=True,
    ),
    Kind(
        "dashboard, 200 viewers that never read", _watches, door=Door.RPC, fixed=200, reading=Reading.NONE, both=False
    ),
    Kind(
        "dashboard, 200 viewers that read slowly", _watches, door=Door.RPC, fixed=200, reading=Reading.SLOW, both=False
    ),
    Kind("RPC, 16 look for a million addresses", _many_addresses, door=Door.RPC, fixed=16),
    Kind(
        "RPC, 60 walks over all coins",
        lambda *_: _call(b'{"method": "gettxoutsetinfo", "params": ["muhash"], "id": 1}'),
        door=Door.RPC,
        fixed=60,
    ),
    Kind("RPC, 16 derive 10,000 addresses", _derives, door=Door.RPC, fixed=16),
    Kind("RPC, wallets of odd names pipelined", _odd_wallets, door=Door.RPC, few=True),
    Kind("RPC, 300 idle", lambda *_: once(), door=Door.RPC, fixed=300),
    Kind("RPC, 300 requests that never end", _endless_head, door=Door.RPC, fixed=300, pause=0.2),
    Kind("RPC, importmempool of /dev/zero", _import_endless, door=Door.RPC, fixed=1),
    Kind("RPC, wrong password", _bad_password, door=Door.RPC),
    Kind("RPC, body of 30 MB without password", _half_body, door=Door.RPC),
    Kind("metrics, 300 idle", lambda *_: once(), door=Door.METRICS, fixed=300, both=False),
)
