"""JSON-RPC 1.0, 1.1 and 2.0 over a method table: from a request's body to a reply's body and HTTP status.

1.x errors are HTTP errors too; in 2.0 the HTTP status is 200 whatever the method answers, and a request without id is
carried out and not answered (204). A batch is always 200. Bitcoin Core behaves so.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from btcnode.record import struct
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import (
    Written,
    decode,
    drop_large,
    encode,
    encode_large,
    type_name,
    value_text,
)
from btcnode.rpc.reply import Pending, Reply, resumed
from btcnode.rpc.room import at_lectern, beside, first_step, forget, has_room, in_slices, keep, only_waits

if TYPE_CHECKING:
    from btcnode.rpc.auth import Caller
    from btcnode.rpc.method import Method
    from btcnode.rpc.table import MethodTable

log = logging.getLogger("btcnode.rpc")

OK, NO_CONTENT, BAD_REQUEST, NOT_FOUND, SERVER_ERROR = 200, 204, 400, 404, 500
BATCH_SLICE_MONO = 0.005  # seconds of a batch between two turns of everybody else
LARGE_BODY = 30_000  # bytes: worked on as far as that is possible beside the loop, parsed there or in slices
BATCH_BODY = 200_000  # bytes of a batch that are read on the loop, in slices: what a thread has made comes slower
BRACKET_BYTES = 16  # of a batch to each bracket, at least: what consists of little else takes longest to read
MAX_ARRAYS = 200_000  # in a request: 64 bytes each in memory, and of objects 200 bytes, for two in the request
MAX_OBJECTS = 1_000_000
COUNTED_BYTES = 1 << 20  # looked through at a time
BATCH_BYTES = 8 * 1024 * 1024  # of a batch's answer that are held; what is longer is sent while it is made
BATCH_REPLIES = 100  # that are made into bytes at a time, unless one of them is large
STREAM_BYTES = 256 * 1024  # to a piece of it
SMALL_TEXT = 64 * 1024  # of a result; what is larger is not copied into the rest of its reply


_HTTP_STATUS = {int(RpcCode.INVALID_REQUEST): BAD_REQUEST, int(RpcCode.METHOD_NOT_FOUND): NOT_FOUND}


_UNSAFE = r"(?a)[^A-Za-z0-9 .,;\-_/:?@()]"


def _safe(text: str) -> str:
    """What of a client's text may stand in the log."""
    return re.sub(_UNSAFE, "", text[:64])


class _NoId:
    """Marks a request without id."""


NO_ID = _NoId()
_RESULT_1, _END_1, _ERROR_1 = b'{"result":', b',"error":null%b}', b'{"result":null,"error":%b%b}'
_RESULT_2, _ERROR_2 = b'{"jsonrpc":"2.0","result":', b'{"jsonrpc":"2.0","error":%b%b}'

Writer = Callable[[Any], bytes]


@struct
class Request:
    """One call of a user; what is read before an error counts for the error's reply."""

    id: Any = None
    v2: bool = False
    method: str = ""
    params: Any = ()
    user: str = ""

    @property
    def is_notification(self) -> bool:
        """Whether no answer is wanted."""
        return self.v2 and self.id is NO_ID

    def parse(self, value: Any) -> None:
        """Read a request object; raises RpcError, with ``id`` and ``v2`` as far as they were read."""
        if not isinstance(value, dict):
            raise RpcError(RpcCode.INVALID_REQUEST, "Invalid Request object")
        get = value.get
        self.id = get("id", NO_ID)
        version = get("jsonrpc")
        self.v2 = version == "2.0"
        if not self.v2 and version is not None:
            if type(version) is not str:
                raise RpcError(RpcCode.INVALID_REQUEST, "jsonrpc field must be a string")
            if version != "1.0":
                raise RpcError(RpcCode.INVALID_REQUEST, "JSON-RPC version not supported")
        method = get("method")
        if type(method) is not str:
            why = "Missing method" if method is None else "Method must be a string"
            raise RpcError(RpcCode.INVALID_REQUEST, why)
        self.method = method
        self.params = params = get("params")
        if type(params) is not list:
            if params is None:
                self.params = []
            elif not isinstance(params, dict):
                raise RpcError(RpcCode.INVALID_REQUEST, "Params must be an array or object")
        if log.isEnabledFor(logging.DEBUG):
            shown = "" if self.id is NO_ID else _safe(value_text(self.id))
            log.debug("ThreadRPCServer method=%s user=%s id=%s", _safe(method), self.user, shown)  # Core's line

    def around_result(self, write: Writer) -> tuple[bytes, bytes]:
        """What the reply that carries a result has before and behind it."""
        return (_RESULT_2, b"%b}" % self._id_member(write)) if self.v2 else (_RESULT_1, _END_1 % self._id_member(write))

    def error(self, error: RpcError, write: Writer) -> bytes:
        """The reply that carries an error."""
        return (_ERROR_2 if self.v2 else _ERROR_1) % (write(error.as_object()), self._id_member(write))

    def _id_member(self, write: Writer) -> bytes:
        return b"" if self.id is NO_ID else b',"id":%b' % write(self.id)


def _failed(request: Request, error: RpcError, write: Writer = encode) -> Reply:
    """The reply of a request that could not be read, or of a 1.x call that failed."""
    status = _HTTP_STATUS.get(error.code, SERVER_ERROR)
    return Reply(status, request.error(error, write) + b"\n")


def _succeeded(request: Request, value: Any, write: Writer = encode) -> Reply:
    if request.is_notification:
        return Reply(NO_CONTENT, b"", b"")
    try:
        first, *more = value.parts if type(value) is Written else (write(value),)
    except (TypeError, ValueError) as error:
        return _called_badly(request, _no_json(request, error))
    start, end = request.around_result(write)
    if more or len(first) > SMALL_TEXT:
        return Reply(OK, start, tail=(first, *more, end + b"\n"))
    return Reply(OK, b"%b%b%b\n" % (start, first, end))


def _no_json(request: Request, error: Exception) -> RpcError:
    """Our own fault: the result of a method cannot be written."""
    log.error("the result of %s is not JSON", request.method[:64], exc_info=error)
    return RpcError(RpcCode.INTERNAL_ERROR, f"the result is not JSON: {error}")


def _called_badly(request: Request, error: RpcError, write: Writer = encode) -> Reply:
    if request.is_notification:
        return Reply(NO_CONTENT, b"", b"")
    return Reply(OK, request.error(error, write) + b"\n") if request.v2 else _failed(request, error, write)


_FORBIDDEN = Reply(403, b"", b"")


def _refuse_batch(values: list[Any], caller: Caller) -> Reply | None:
    """The answer to a batch in which a method is not allowed."""
    for value in values:
        if not isinstance(value, dict):
            return _failed(Request(), RpcError(RpcCode.INVALID_REQUEST, "Invalid Request object"))
        name = value.get("method")
        if not isinstance(name, str):
            text = f"JSON value of type {type_name(name)} is not of expected type string"
            return _failed(Request(), RpcError(RpcCode.PARSE_ERROR, text))
        if not _may_call(caller, name):
            return _FORBIDDEN
    return None


def _may_call(caller: Caller, method: str) -> bool:
    if caller.methods is None or method in caller.methods:
        return True
    log.warning("RPC User %s not allowed to call method %s", caller.user, _safe(method))
    return False


def answer_request(table: MethodTable, body: bytes, caller: Caller) -> Reply | Pending:
    """Answer a request body at once where the method allows, else as work to be awaited."""
    if len(body) > LARGE_BODY:
        return Pending(_answer_large(table, body, caller), in_task=True)
    try:
        value = decode(body)
    except ValueError:
        return _unreadable()
    return _answer(table, value, caller, large=False)


def _unreadable() -> Reply:
    return _failed(Request(), RpcError(RpcCode.PARSE_ERROR, "Parse error"))


async def _answer_large(table: MethodTable, body: bytes, caller: Caller) -> Reply:
    """The same for a large body, which is parsed beside the loop, or in slices."""
    try:
        if _is_usual_batch(body):
            value = await _decode_in_slices(body)
        else:
            value = await beside(lambda: _decode_large(body), reading=True)
    except ValueError:
        return _unreadable()
    answer = _answer(table, value, caller, large=True)
    del value  # what the call holds of it goes with the call
    return await answer.work if isinstance(answer, Pending) else answer


def _decode_large(body: bytes) -> Any:
    """Raises ValueError, also for more arrays or objects than there may be."""
    if len(body) > MAX_ARRAYS and (_count(body, b"[") > MAX_ARRAYS or _count(body, b"{") > MAX_OBJECTS):
        raise ValueError("too many arrays or objects")
    from btcnode.rpc.large_json import decode_large  # hardly anybody sends so much

    return decode_large(body)


def _is_usual_batch(body: bytes) -> bool:
    """Whether it is a batch that may be read on the loop; it cannot have too many arrays or objects then."""
    if len(body) > BATCH_BODY or not body.startswith(b"["):
        return False
    return BRACKET_BYTES * (body.count(b"[") + body.count(b"{")) <= len(body)


async def _decode_in_slices(body: bytes) -> Any:
    """Read a batch on the loop, one at a time, letting others have a turn in between; raises ValueError."""
    from btcnode.rpc.large_json import Reader

    async with at_lectern():
        reader = Reader(body)
        async for _ in in_slices(reader.steps()):
            pass
        await asyncio.sleep(0)  # everybody has a turn before the next one is read
    return reader.value


def _count(body: bytes, char: bytes) -> int:
    """How often it has a character; other threads get their turns meanwhile."""
    return sum(body.count(char, at, at + COUNTED_BYTES) for at in range(0, len(body), COUNTED_BYTES))


def _answer(table: MethodTable, value: Any, caller: Caller, *, large: bool) -> Reply | Pending:
    """Answer a request; ``large``: it took many bytes."""
    request = Request(user=caller.user)
    if caller.is_refused:
        log.warning("RPC User %s not allowed to call any methods", caller.user)
        return _FORBIDDEN
    if isinstance(value, list):
        refusal = _refuse_batch(value, caller) if caller.methods is not None else None
        return refusal or Pending(_batch(table, value, caller.user, large=large), in_task=True)
    if not isinstance(value, dict):
        return _failed(request, RpcError(RpcCode.PARSE_ERROR, "Top-level object parse error"))
    try:
        request.parse(value)
    except RpcError as error:
        return _failed(request, error)
    if not _may_call(caller, request.method):
        return _FORBIDDEN
    if not table.knows(request.method):
        return Pending(_load_and_call(table, request, large=large))
    try:
        method = table.find(request.method)
        if method.prompt and not large:
            return _prompt(table, method, request)
        if method.is_async or method.heavy or large:
            work = _call(table, method, request, large=large)
            return Pending(work, waits=method.waits, urgent=method.takes_control)
        return _succeeded(request, table.call(method, request.params))
    except RpcError as error:
        return _called_badly(request, error)


def _prompt(table: MethodTable, method: Method, request: Request) -> Reply | Pending:
    """Answer a request by the first step of a method, outside a task, or by what is left of it; raises RpcError."""
    work = table.call_async(method, request.params)
    try:
        awaited = first_step(work)
    except StopIteration as end:
        return _succeeded(request, end.value)
    return Pending(_end(request, resumed(work, awaited)))


async def _end(request: Request, rest: Awaitable[Any]) -> Reply:
    try:
        return _succeeded(request, await rest)
    except RpcError as error:
        return _called_badly(request, error)


async def _load_and_call(table: MethodTable, request: Request, *, large: bool) -> Reply:
    """Answer a request for a method that may be one of those that nobody has asked for yet."""
    await table.load_for(request.method)
    try:
        method = table.find(request.method)
    except RpcError as error:
        return _called_badly(request, error)
    if method.waits:
        only_waits()
    return await _call(table, method, request, large=large)


async def _call(table: MethodTable, method: Method, request: Request, *, large: bool) -> Reply:
    try:
        value = await table.call_async(method, request.params, large=large)
    except RpcError as error:
        failed = partial(_called_badly, request, error)
        long = large and not (_is_short(error.as_object()["message"]) and _is_short(request.id))
        return await beside(lambda: failed(encode_large)) if long else failed()  # it may repeat what it was given
    if type(value) is Written and _is_short(request.id):
        return _succeeded(request, value)
    if method.heavy or (large and not (_is_short(value) and _is_short(request.id))) or has_room():
        held = [value]
        del value
        return await beside(partial(_written, request, held))
    return _succeeded(request, value)


def _is_short(value: Any) -> bool:
    """Whether it is little for sure."""
    return len(value) < LARGE_BODY if isinstance(value, str) else value is None or isinstance(value, bool | int | _NoId)


def _written(request: Request, held: list[Any]) -> Reply:
    """The reply with a large value, which is gone then."""
    try:
        return _succeeded(request, held[0], encode_large)
    finally:
        drop_large(held)


async def _batch(table: MethodTable, values: list[Any], user: str, *, large: bool) -> Reply:
    """Carry out a batch in order, letting others have a turn in between; what is long is sent as it comes."""
    parts = _replies(table, values, user, large=large)
    body = bytearray(b"[")
    async for part in parts:
        body += part if len(body) == 1 else b"," + part
        if len(body) > BATCH_BYTES:
            return Reply(OK, bytes(body), rest=_rest_of(parts, len(body)))
    if values and len(body) == 1:
        return Reply(NO_CONTENT, b"", b"")
    return Reply(OK, bytes(body) + b"]\n")


async def _rest_of(parts: AsyncIterator[bytes], sent: int) -> AsyncGenerator[bytes, None]:
    """What comes behind the first ``sent`` bytes of a batch's answer, in pieces of some size."""
    forget(sent)
    body = bytearray()
    async for part in parts:
        body += b"," + part
        if len(body) > STREAM_BYTES:
            forget(len(body))
            yield bytes(body)
            body.clear()
    yield bytes(body) + b"]\n"


async def _replies(table: MethodTable, values: list[Any], user: str, *, large: bool) -> AsyncIterator[bytes]:
    """The replies to a batch's requests, those that want one, as bytes with commas between: one large, or several.

    What is no request object is answered with id and version of the one before it, as Core does.
    """
    request = Request(user=user)
    replies: list[bytes] = []
    turn, roomy = monotonic(), has_room()
    for value in values:
        if monotonic() - turn > BATCH_SLICE_MONO:
            await asyncio.sleep(0)
            turn = monotonic()
        try:
            request.parse(value)
            method = table.at_hand(request.method)
            if method is None:
                await table.load_for(request.method)
                method = table.find(request.method)
            if method.is_async or (method.pure and large):
                result = await table.call_async(method, request.params, large=large)
                roomy = has_room()
            else:
                result = table.call(method, request.params)
        except RpcError as error:
            roomy = has_room()
            if not request.is_notification:
                replies.append(request.error(error, encode))
            continue
        if request.v2 and request.id is NO_ID:
            continue
        replies.append(await _large_in_batch(request, result) if roomy else _in_batch(request, result, encode))
        if len(replies) >= BATCH_REPLIES or roomy:
            yield _joined(replies)
            replies, roomy = [], False
    if replies:
        yield _joined(replies)


async def _large_in_batch(request: Request, result: Any) -> bytes:
    """The reply that carries a large result among others, made beside the loop."""
    return await beside(lambda: _in_batch(request, result, encode_large))


def _in_batch(request: Request, result: Any, write: Writer) -> bytes:
    """The reply that carries a result among others."""
    name = request.id
    if type(result) is int and type(name) is int and request.v2:
        return b'{"jsonrpc":"2.0","result":%d,"id":%d}' % (result, name)
    try:
        text = write(result)
    except (TypeError, ValueError) as error:
        return request.error(_no_json(request, error), encode)
    if request.v2 and type(name) is int:  # as nearly all are
        return b'{"jsonrpc":"2.0","result":%b,"id":%d}' % (text, name)
    start, end = request.around_result(encode)
    return b"%b%b%b" % (start, text, end)


def _joined(replies: list[bytes]) -> bytes:
    data = b",".join(replies)
    keep(len(data))
    return data
