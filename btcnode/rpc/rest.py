"""REST: what may be read without a password, with ``-rest`` (Core's ``rest.cpp``: paths, formats, errors).

A path ends in ``.bin``, ``.hex`` or ``.json``. Everything is answered from a method table's node; what a method says
in JSON already is taken from there.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from btcnode.errors import DecodeError, StorageError
from btcnode.primitives.coin import coin_height, coin_prefix, coin_script, coin_value, make_txout
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.record import record
from btcnode.rpc.decode import script_json
from btcnode.rpc.errors import RpcError
from btcnode.rpc.jsonvalue import Written, amount, encode, encode_large
from btcnode.rpc.lookup import header_json, is_active, spent_by_block
from btcnode.rpc.reply import Reply
from btcnode.rpc.room import HEX_FACTOR, VERBOSE_FACTOR, beside, has_room, in_slices, make_room, on_bench
from btcnode.rpc.table import MethodTable
from btcnode.rpc.transactions import find_transaction, tx_hex, tx_members
from btcnode.services.index_readers import FilterIndex
from btcnode.services.parts import NodeParts

MAX_OUTPOINTS = 15
MAX_HEADERS = 2000
FEW_HEADERS = 50  # told at once: a millisecond or two
MEMPOOL_HEIGHT = 0x7FFFFFFF  # of coins that unconfirmed transactions make

OK, BAD_REQUEST, NOT_FOUND, SERVER_ERROR, UNAVAILABLE = 200, 400, 404, 500, 503

_BINARY = b"Content-Type: application/octet-stream\r\n"
_TEXT = b"Content-Type: text/plain\r\n"
_JSON_ONLY = "output format not found (available: json)"
_ALL_FORMATS = "output format not found (available: .bin, .hex, .json)"
_HASH = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_PATH = r"[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9a-fA-F]{2}"
_URI = re.compile(rf"(?:{_PATH})*(?:\?((?:{_PATH}|\?)*))?(?:#(?:{_PATH}|\?)*)?")
_URI_CHARS = frozenset(string.ascii_letters + string.digits + "!*'();:@&=+$,/?#[]-_.~%")


class RestError(Exception):
    """A request that is answered with an error status and one line."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@record
class RestRequest:
    """A request: ``rest`` is the path after the handler's prefix, without format and query."""

    table: MethodTable
    target: str
    rest: str
    format: str  # "bin", "hex", "json", or "" for none that is known
    body: bytes

    @property
    def node(self) -> NodeParts:
        """The node that answers."""
        return self.table.parts

    def query(self, name: str, default: str) -> str:
        """A query parameter; raises RestError when the target is no URI.

        Names are taken as they stand. One part that is no ``name=value`` makes all others count for nothing.
        """
        match = _URI.fullmatch(self.target)
        if match is None:
            raise RestError(BAD_REQUEST, "URI parsing failed, it likely contained RFC 3986 invalid characters")
        pairs = [part.partition("=") for part in (match[1] or "").removesuffix("&").split("&")]
        if all(key and equals for key, equals, _ in pairs):
            for key, _, value in pairs:
                if key == name:
                    return os.fsdecode(unquote_to_bytes(value.replace("+", " ")).partition(b"\0")[0])
        return default

    async def method(self, name: str, *params: Any) -> Any:
        """The result of an RPC method."""
        return await self.table.call_async(self.table.find(name), list(params))

    def data(self, raw: bytes) -> Reply | None:
        """Bytes in the two formats that have them, None for another format."""
        if self.format == "bin":
            return Reply(OK, raw, _BINARY)
        return Reply(OK, raw.hex().encode() + b"\n", _TEXT) if self.format == "hex" else None

    def json(self, value: Any, otherwise: str = _ALL_FORMATS, write: Callable[[Any], bytes] = encode) -> Reply:
        """JSON, or the error that the format is none of ours."""
        if self.format != "json":
            raise RestError(NOT_FOUND, otherwise)
        if isinstance(value, Written):
            return Reply(OK, value.parts[0], tail=(*value.parts[1:], b"\n"))
        return Reply(OK, write(value) + b"\n")

    async def large_json(self, make: Callable[[], Any]) -> Reply:
        """JSON of what ``make`` gives, beside the loop where room was made for much."""
        return await beside(lambda: self.json(make(), write=encode_large)) if has_room() else self.json(make())


def _split_format(text: str) -> tuple[str, str]:
    """``(path, format)`` of a path with query."""
    path = text.rpartition("?")[0] if "?" in text else text
    stem, dot, suffix = path.rpartition(".")
    if dot and suffix in ("", "bin", "hex", "json"):
        return stem, suffix
    return path, ""


def _hash(text: str) -> bytes:
    if not _HASH.fullmatch(text):
        raise RestError(BAD_REQUEST, f"Invalid hash: {text}")
    return bytes.fromhex(text)[::-1]


def _number(text: str, limit: int) -> int | None:
    """A whole number of at most ``limit``, digits only."""
    if not _DIGITS.fullmatch(text) or len(text.lstrip("0")) > 20:
        return None
    value = int(text)
    return value if value <= limit else None


def _find(request: RestRequest, text: str) -> int:
    index = request.node.chain.tree.find(BlockHash(_hash(text)))
    if index < 0:
        raise RestError(NOT_FOUND, f"{text} not found")
    return index


async def _tx(request: RestRequest) -> Reply:
    node, txid = request.node, _hash(request.rest)
    if node.indexes.transactions is not None:
        await node.indexes.transactions.until_synced()
    found = await find_transaction(node, txid)
    if found is None:
        raise RestError(NOT_FOUND, f"{request.rest} not found")
    tx, block = found
    reply = request.data(tx.raw)
    if reply is not None:
        return reply
    if request.format != "json":
        return request.json(None)
    place = b',"blockhash":"%b"' % to_display(node.chain.tree.hash(block)).encode() if block >= 0 else b""
    text = Written(b'{%b%b,"hex":"%b"}' % (await tx_members(node, tx, block), place, await tx_hex(tx)))
    return request.json(text)


async def _raw_block(request: RestRequest) -> bytes:
    text = request.rest
    index = _find(request, text)
    status = request.node.chain.block_status(index)
    if not status.have_data:
        why = "pruned data" if status.n_tx else "not fully downloaded"
        raise RestError(NOT_FOUND, f"{text} not available ({why})")
    try:
        return await request.node.chain.read_block(index)
    except StorageError:
        raise RestError(SERVER_ERROR, f"I/O error reading {text}") from None


async def _block(request: RestRequest) -> Reply:
    return await _whole_block(request, 3)


async def _block_without_details(request: RestRequest) -> Reply:
    return await _whole_block(request, 1)


async def _whole_block(request: RestRequest, verbosity: int) -> Reply:
    raw = await _raw_block(request)
    if request.format != "json":
        await make_room(len(raw) * (HEX_FACTOR if request.format == "hex" else 1))
    reply = request.data(raw)
    if reply is not None:
        return reply
    if request.format != "json":
        return request.json(None)
    return request.json(await request.method("getblock", request.rest, verbosity))


async def _block_part(request: RestRequest) -> Reply:
    limits = {}
    for name in ("offset", "size"):
        value = _number(request.query(name, ""), 2**64 - 1)
        if value is None:
            raise RestError(BAD_REQUEST, f"Block part {name} missing or invalid")
        limits[name] = value
    offset, size = limits["offset"], limits["size"]
    raw = await _raw_block(request)
    if size == 0 or offset + size > len(raw):
        raise RestError(BAD_REQUEST, f"Bad block part offset/size {offset}/{size} for {request.rest}")
    reply = request.data(raw[offset : offset + size])
    if reply is None:
        if request.format == "json":
            raise RestError(BAD_REQUEST, "JSON output is not supported for this request type")
        raise RestError(NOT_FOUND, _ALL_FORMATS)
    return reply


def _count_of(text: str) -> int:
    count = _number(text, MAX_HEADERS)
    if not count:
        raise RestError(BAD_REQUEST, f"Header count is invalid or out of acceptable range (1-{MAX_HEADERS}): {text}")
    return count


async def _headers(request: RestRequest) -> Reply:
    path = request.rest.split("/")
    if len(path) > 2:
        raise RestError(BAD_REQUEST, "Invalid URI format. Expected /rest/headers/<hash>.<ext>?count=<count>")
    count = _count_of(path[0] if len(path) == 2 else request.query("count", "5"))
    node, block_hash = request.node, BlockHash(_hash(path[-1]))
    if count <= FEW_HEADERS:
        indexes = _active_run(node, block_hash, count)
        reply = request.data(b"".join(map(node.chain.tree.raw, indexes)))
        return reply or request.json([header_json(node, index) for index in indexes])
    async with on_bench():
        indexes = _active_run(node, block_hash, count)
        reply = request.data(b"".join(map(node.chain.tree.raw, indexes)))
        if reply is not None or request.format != "json":
            return reply or request.json(None)
        found = [header_json(node, index) async for index in in_slices(indexes)]
    return await beside(lambda: request.json(found, write=encode_large))


def _filter_index(request: RestRequest, text: str, filter_type: str) -> tuple[FilterIndex, BlockHash]:
    """The index of a type, and the hash that ``text`` is; raises RestError."""
    block_hash = BlockHash(_hash(text))
    if filter_type != "basic":
        raise RestError(BAD_REQUEST, f"Unknown filtertype {filter_type}")
    index = request.node.indexes.filters
    if index is None:
        raise RestError(BAD_REQUEST, f"Index is not enabled for filtertype {filter_type}")
    return index, block_hash


def _filter_missing(*, ready: bool) -> RestError:
    more = "This error is unexpected and indicates index corruption."
    if not ready:
        more = "Block filters are still in the process of being indexed."
    return RestError(NOT_FOUND, f"Filter not found. {more}")


def _active_run(node: NodeParts, block_hash: BlockHash, count: int) -> list[int]:
    """Up to ``count`` headers of the active chain from a block on, none when it is not part of it."""
    tree, tip = node.chain.tree, node.chain.tip()
    found = tree.find(block_hash)
    if found < 0 or not is_active(node, found):
        return []
    last = min(tree.height(tip), tree.height(found) + count - 1)
    return [tree.ancestor(tip, height) for height in range(tree.height(found), last + 1)]


async def _filter_headers(request: RestRequest) -> Reply:
    path = request.rest.split("/")
    if len(path) not in (2, 3):
        where = "/rest/blockfilterheaders/<filtertype>/<blockhash>.<ext>?count=<count>"
        raise RestError(BAD_REQUEST, f"Invalid URI format. Expected {where}")
    count = _count_of(path[1] if len(path) == 3 else request.query("count", "5"))
    index, block_hash = _filter_index(request, path[-1], path[0])
    node = request.node
    ready = await index.until_synced()
    async with on_bench():
        headers = []
        async for at in in_slices(_active_run(node, block_hash, count)):
            item = index.get(node.chain.tree.hash(at))
            if item is None:
                raise _filter_missing(ready=ready)
            headers.append(item.header)
        return request.data(b"".join(headers)) or request.json([to_display(header) for header in headers])


async def _filter(request: RestRequest) -> Reply:
    path = request.rest.split("/")
    if len(path) != 2:
        raise RestError(BAD_REQUEST, "Invalid URI format. Expected /rest/blockfilter/<filtertype>/<blockhash>")
    index, block_hash = _filter_index(request, path[1], path[0])
    node = request.node
    at = node.chain.tree.find(block_hash)
    if at < 0:
        raise RestError(NOT_FOUND, f"{path[1]} not found")
    ready = await index.until_synced()
    item = index.get(block_hash)
    if item is None:
        if not node.chain.block_status(at).scripts_valid:
            raise RestError(NOT_FOUND, "Filter not found. Block was not connected to active chain.")
        raise _filter_missing(ready=ready)
    raw = b"\0" + block_hash + compact_size(len(item.data)) + item.data
    return request.data(raw) or request.json({"filter": item.data.hex()})


async def _chain_info(request: RestRequest) -> Reply:
    return request.json(await request.method("getblockchaininfo"), _JSON_ONLY)


async def _deployment_info(request: RestRequest) -> Reply:
    if request.format != "json":
        raise RestError(NOT_FOUND, _JSON_ONLY)
    text = request.rest.removeprefix("/")
    if not text:
        return request.json(await request.method("getdeploymentinfo"))
    if request.node.chain.tree.find(BlockHash(_hash(text))) < 0:
        raise RestError(BAD_REQUEST, "Block not found")
    return request.json(await request.method("getdeploymentinfo", text))


def _yes_or_no(request: RestRequest, name: str, default: str) -> bool:
    text = request.query(name, default)
    if text not in ("true", "false"):
        raise RestError(BAD_REQUEST, f'The "{name}" query parameter must be either "true" or "false".')
    return text == "true"


async def _mempool(request: RestRequest) -> Reply:
    if request.rest not in ("contents", "info"):
        raise RestError(BAD_REQUEST, "Invalid URI format. Expected /rest/mempool/<info|contents>.json")
    if request.format != "json":
        raise RestError(NOT_FOUND, _JSON_ONLY)
    if request.rest == "info":
        return request.json(await request.method("getmempoolinfo"))
    verbose = _yes_or_no(request, "verbose", "true")
    sequence = _yes_or_no(request, "mempool_sequence", "false")
    if verbose and sequence:
        text = 'Verbose results cannot contain mempool sequence values. (hint: set "verbose=false")'
        raise RestError(BAD_REQUEST, text)
    contents = await request.method("getrawmempool", verbose, sequence)
    return await request.large_json(lambda: contents)


def _outpoints_of_path(parts: list[str]) -> list[bytes]:
    outpoints = []
    for part in parts:
        txid, dash, n_text = part.partition("-")
        n = _number(n_text, 2**32 - 1)
        if not dash or n is None or not _HASH.fullmatch(txid):
            raise RestError(BAD_REQUEST, "Parse error")
        outpoints.append(bytes.fromhex(txid)[::-1] + n.to_bytes(4, "little"))
    return outpoints


def _outpoints_of_body(body: bytes) -> tuple[bool, list[bytes]]:
    """``(with the mempool, outpoints)`` as BIP64 serialises them."""
    try:
        count, start = read_compact_size(body, 1)
    except (DecodeError, IndexError):
        raise RestError(BAD_REQUEST, "Parse error") from None
    if start + 36 * count > len(body):
        raise RestError(BAD_REQUEST, "Parse error")
    return body[0] != 0, [body[place : place + 36] for place in range(start, start + 36 * count, 36)]


def _wanted_outpoints(request: RestRequest) -> tuple[bool, list[bytes]]:
    parts = request.rest[1:].split("/") if len(request.rest) > 1 else []
    body = request.body
    if not body and not parts:
        raise RestError(BAD_REQUEST, "Error: empty request")
    with_mempool = parts[:1] == ["checkmempool"]
    outpoints = _outpoints_of_path(parts[1:] if with_mempool else parts)
    if parts and not outpoints:
        raise RestError(BAD_REQUEST, "Error: empty request")
    if request.format == "":
        raise RestError(NOT_FOUND, _ALL_FORMATS)
    if request.format == "json":
        if not outpoints:
            raise RestError(BAD_REQUEST, "Error: empty request")
    else:
        if request.format == "hex":
            try:
                body = bytes.fromhex(body.decode("ascii"))
            except ValueError:
                body = b""
        if body:
            if outpoints:
                text = "Combination of URI scheme inputs and raw post data is not allowed"
                raise RestError(BAD_REQUEST, text)
            with_mempool, outpoints = _outpoints_of_body(body)
    if len(outpoints) > MAX_OUTPOINTS:
        text = f"Error: max outpoints exceeded (max: {MAX_OUTPOINTS}, tried: {len(outpoints)})"
        raise RestError(BAD_REQUEST, text)
    return with_mempool, outpoints


def _txout(coin: bytes) -> bytes:
    return make_txout(coin_value(coin), coin_script(coin))


async def _get_utxos(request: RestRequest) -> Reply:
    node = request.node
    with_mempool, outpoints = _wanted_outpoints(request)
    if not node.chain.keeps_coins:
        raise RestError(NOT_FOUND, "This node keeps no UTXO set, only its roots (-utreexo-csn)")
    found: list[bytes | None] = []
    for outpoint in outpoints:
        coin = None
        if not with_mempool or node.mempool.spender_of(outpoint) is None:
            coin = await node.chain.get_coin(outpoint)
            txout = node.mempool.txout(outpoint) if coin is None and with_mempool else None
            coin = coin if txout is None else coin_prefix(MEMPOOL_HEIGHT, False) + txout
        found.append(coin)
    coins = [coin for coin in found if coin is not None]
    tree, tip = node.chain.tree, node.chain.tip()
    bitmap = bytearray((len(found) + 7) // 8)
    for n, coin in enumerate(found):
        bitmap[n // 8] |= (coin is not None) << (n % 8)
    raw = [tree.height(tip).to_bytes(4, "little"), tree.hash(tip), compact_size(len(bitmap)), bytes(bitmap)]
    raw.append(compact_size(len(coins)))
    raw += [bytes(4) + coin_height(coin).to_bytes(4, "little") + _txout(coin) for coin in coins]
    return request.data(b"".join(raw)) or request.json(
        {
            "chainHeight": tree.height(tip),
            "chaintipHash": to_display(tree.hash(tip)),
            "bitmap": "".join("01"[coin is not None] for coin in found),
            "utxos": [{"height": coin_height(coin), **_output_json(coin, node)} for coin in coins],
        }
    )


def _output_json(coin: bytes, node: NodeParts) -> dict[str, Any]:
    return {"value": amount(coin_value(coin)), "scriptPubKey": script_json(coin_script(coin), node.params)}


async def _block_hash_by_height(request: RestRequest) -> Reply:
    height = _number(request.rest, 2**31 - 1)
    if height is None:
        text = "".join(char for char in request.rest if char in _URI_CHARS)
        raise RestError(BAD_REQUEST, f"Invalid height: {text}")
    tree, tip = request.node.chain.tree, request.node.chain.tip()
    if height > tree.height(tip):
        raise RestError(NOT_FOUND, "Block height out of range")
    block_hash = tree.hash(tree.ancestor(tip, height))
    if request.format == "hex":
        return Reply(OK, to_display(block_hash).encode() + b"\n", _TEXT)
    return request.data(block_hash) or request.json({"blockhash": to_display(block_hash)})


async def _spent_txouts(request: RestRequest) -> Reply:
    text, node = request.rest, request.node
    if "/" in text:
        raise RestError(BAD_REQUEST, "Invalid URI format. Expected /rest/spenttxouts/<hash>.<ext>")
    index = _find(request, text)
    undo: list[list[bytes]] = []
    if node.chain.tree.height(index) > 0:
        try:
            if not node.chain.block_status(index).have_undo:
                raise StorageError("never connected")
            undo = await spent_by_block(node, index)
        except StorageError:
            raise RestError(NOT_FOUND, f"{text} undo not available") from None
    size = sum(len(coin) for coins in undo for coin in coins)
    await make_room(size * {"json": VERBOSE_FACTOR, "hex": HEX_FACTOR}.get(request.format, 1))
    spent = [[], *undo]  # the coinbase spends nothing
    if request.format == "json":
        return await request.large_json(lambda: [[_output_json(coin, node) for coin in coins] for coins in spent])
    return await beside(lambda: request.data(_spent_bytes(spent)) or request.json(None))


def _spent_bytes(spent: list[list[bytes]]) -> bytes:
    """What the transactions of a block spend, as it is serialised."""
    raw = [compact_size(len(spent))]
    for coins in spent:
        raw += [compact_size(len(coins)), *map(_txout, coins)]
    return b"".join(raw)


Handler = Callable[[RestRequest], Awaitable[Reply]]

_HANDLERS: tuple[tuple[str, Handler], ...] = (
    ("/rest/tx/", _tx),
    ("/rest/block/notxdetails/", _block_without_details),
    ("/rest/block/", _block),
    ("/rest/blockpart/", _block_part),
    ("/rest/blockfilter/", _filter),
    ("/rest/blockfilterheaders/", _filter_headers),
    ("/rest/chaininfo", _chain_info),
    ("/rest/mempool/", _mempool),
    ("/rest/headers/", _headers),
    ("/rest/getutxos", _get_utxos),
    ("/rest/deploymentinfo", _deployment_info),
    ("/rest/blockhashbyheight/", _block_hash_by_height),
    ("/rest/spenttxouts/", _spent_txouts),
)


async def answer_rest(table: MethodTable, raw_target: bytes, body: bytes) -> Reply:
    """Answer a request whose target begins with ``/rest/``."""
    target = os.fsdecode(raw_target)
    found = next(((prefix, handler) for prefix, handler in _HANDLERS if target.startswith(prefix)), None)
    if found is None:
        return Reply(NOT_FOUND, b"", b"")
    prefix, handler = found
    rest, kind = _split_format(target[len(prefix) :])
    try:
        if table.control.status is not None:
            raise RestError(UNAVAILABLE, f"Service temporarily unavailable: {table.control.status}")
        return await handler(RestRequest(table, target, rest, kind, body))
    except RestError as error:
        return Reply(error.status, os.fsencode(error.text) + b"\r\n", _TEXT)
    except RpcError as error:
        return Reply(SERVER_ERROR, f"{error}\r\n".encode(), _TEXT)
