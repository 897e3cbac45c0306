"""A scripted peer over blocking TCP sockets: serves what it is given, and can be made to misbehave."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self, TypeVar

from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.wire.codec import Message
from btcnode.wire.constants import (
    FEATURE_VERSION,
    MAX_HEADERS_RESULTS,
    MSG_BLOCK_SPENT,
    MSG_UTREEXO_PROOF,
    NODE_BLOCK_UNDO,
    NODE_NETWORK,
    NODE_UTREEXO_ARCHIVE,
    NODE_WITNESS,
    PROTOCOL_VERSION,
)
from btcnode.wire.framing import FrameError
from btcnode.wire.messages import (
    Feature,
    GetBlockSpent,
    GetData,
    GetHeaders,
    GetUtreexoProof,
    Headers,
    InvItem,
    NotFound,
    Ping,
    Pong,
    Verack,
    Version,
)
from btcnode.wire.registry import UnknownMessage, decode_message
from btcnode.wire.transport import Transport, V1Transport
from btcnode.wire.v2_transport import V2Transport

RECEIVE_SIZE = 65536
TYPE_MASK = 0xFFFF  # of an inventory type, without the witness flag
MSG_BLOCK = 2

M = TypeVar("M", bound=Message)


def v2_initiator(params: NetworkParams, random_bytes: Callable[[int], bytes] = os.urandom) -> V2Transport:
    """The version 2 transport of a peer that opens the connection."""
    return V2Transport(params.magic, initiator=True, random_bytes=random_bytes)


def v2_responder(params: NetworkParams) -> V2Transport:
    """The transport of a peer that is connected to: version 1 or 2, whatever the node begins with."""
    return V2Transport(params.magic, initiator=False, random_bytes=os.urandom)


def decoy(transport: V2Transport, contents: bytes = b"") -> bytes:
    """A packet that the other side decrypts and drops; the node sends none."""
    return transport._require_cipher().encrypt(contents, ignore=True)


class ScriptedPeer:
    """One connection to a node, either direction, with the version handshake done on request.

    ``wire`` is what it speaks: version 1 unless another transport is given (see ``v2_initiator``, ``v2_responder``).
    A ``lenient`` one takes a message that breaks its own format (``sendmsgtopeer`` sends any bytes) as unknown.
    """

    def __init__(
        self,
        sock: socket.socket,
        params: NetworkParams,
        timeout: float = 30.0,
        wire: Transport | None = None,
        *,
        lenient: bool = False,
    ) -> None:
        self.sock = sock
        self.params = params
        self.received: list[Message] = []
        self.wire = wire if wire is not None else V1Transport(params.magic)
        sock.settimeout(timeout)
        self._lenient = lenient
        self._queue: list[Message] = []
        self._flush()

    @classmethod
    def connect(
        cls, host: str, port: int, params: NetworkParams, timeout: float = 30.0, *, v2: bool = False
    ) -> ScriptedPeer:
        """Open a connection to a node."""
        wire = v2_initiator(params) if v2 else None
        return cls(socket.create_connection((host, port), timeout), params, timeout, wire)

    def send(self, message: Message) -> None:
        """Send a message."""
        self.send_raw(message.command, message.encode())

    def send_raw(self, command: str, payload: bytes) -> None:
        """Send a message with any payload; on version 2, once the keys are agreed on."""
        while not self.wire.can_send:
            self._receive_some()
        self.sock.sendall(self.wire.encode(command, payload))

    def _flush(self) -> None:
        """Send what the transport's handshake wants."""
        output = self.wire.take_output()
        if output:
            self.sock.sendall(output)

    def _receive_some(self) -> None:
        data = self.sock.recv(RECEIVE_SIZE)
        if not data:
            raise ConnectionError("the node closed the connection")
        self.wire.feed(data)
        self._queue += [self._decoded(command, payload) for command, payload in self.wire]
        self._flush()

    def _decoded(self, command: str, payload: bytes) -> Message:
        try:
            return decode_message(command, payload)
        except DecodeError:
            if not self._lenient:
                raise
            return UnknownMessage(command, payload)

    def receive(self) -> Message:
        """The next message; raises ConnectionError when the node closes, TimeoutError."""
        while not self._queue:
            self._receive_some()
        message = self._queue.pop(0)
        self.received.append(message)
        return message

    def expect(self, kind: type[M]) -> M:
        """Receive until a message of ``kind`` comes, answering pings on the way."""
        while True:
            message = self.receive()
            if isinstance(message, Ping):
                self.send(Pong(message.nonce))
            if isinstance(message, kind):
                return message

    def handshake(
        self,
        height: int = 0,
        services: int = NODE_NETWORK | NODE_WITNESS,
        user_agent: bytes = b"/scripted/",
        features: Sequence[bytes] = (),
    ) -> None:
        """Exchange version and verack, and names of features (BIP434); the node may speak first or second."""
        self.send(
            Version(
                version=FEATURE_VERSION if features else PROTOCOL_VERSION,
                services=services,
                time=int(time.time()),
                nonce=id(self),
                user_agent=user_agent,
                start_height=height,
            )
        )
        self.expect(Version)
        for name in features:
            self.send(Feature(name))
        self.send(Verack())
        self.expect(Verack)

    def is_closed(self) -> bool:
        """Whether the node closes the connection (waits for it up to the time-out)."""
        try:
            while True:
                self.receive()
        except TimeoutError:
            return False
        except (ConnectionError, OSError):
            return True

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


class ChainServer:
    """Listens on loopback and serves a chain of headers, and the blocks it has, to any number of nodes.

    ``headers`` begin with the genesis block; ``blocks`` are by hash. ``on_block`` may change or withhold (None) a
    block before it is sent. With ``spent``, by hash what ``bspent`` has behind it, spent coins are offered and given;
    ``on_spent`` may change or withhold them; ``proofs`` and ``on_proof`` are the same for ``uproof``. Nodes are
    answered in the transport that they begin with; with ``v2`` False in version 1 only.
    """

    def __init__(
        self,
        params: NetworkParams,
        headers: Sequence[bytes],
        blocks: Mapping[BlockHash, bytes] | None = None,
        on_block: Callable[[bytes, bytes], bytes | None] | None = None,
        *,
        v2: bool = True,
    ) -> None:
        self.params = params
        self.headers = headers
        self.heights: dict[bytes, int] = {header_hash(raw): height for height, raw in enumerate(headers)}
        self.blocks: dict[bytes, bytes] = dict((blocks or {}).items())
        self.on_block = on_block
        self.v2 = v2
        self.spent: Mapping[BlockHash, bytes] | None = None
        self.on_spent: Callable[[bytes, bytes], bytes | None] | None = None
        self.proofs: Mapping[BlockHash, bytes] | None = None
        self.on_proof: Callable[[bytes, bytes], bytes | None] | None = None
        self.proof_requests: list[bytes] = []
        self.features: tuple[bytes, ...] = ()
        self.requests: list[bytes] = []
        self.header_requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._peers: list[ScriptedPeer] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @classmethod
    def of_blocks(cls, params: NetworkParams, blocks: Sequence[bytes]) -> ChainServer:
        """A server of a chain of whole blocks above the genesis block."""
        headers = [params.genesis_block[:HEADER_SIZE], *(raw[:HEADER_SIZE] for raw in blocks)]
        return cls(params, headers, {header_hash(raw[:HEADER_SIZE]): raw for raw in blocks})

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def _make_wire(self) -> Transport:
        return v2_responder(self.params) if self.v2 else V1Transport(self.params.magic)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # closed
            peer = ScriptedPeer(sock, self.params, timeout=600.0, wire=self._make_wire())
            self._peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: ScriptedPeer) -> None:
        # the node or the test has closed the connection, or the node speaks another transport
        with contextlib.suppress(OSError, FrameError), contextlib.closing(peer):
            offered = 0 if self.spent is None else NODE_BLOCK_UNDO
            offered |= 0 if self.proofs is None else NODE_UTREEXO_ARCHIVE
            peer.handshake(len(self.headers) - 1, NODE_NETWORK | NODE_WITNESS | offered, features=self.features)
            while True:
                self._answer(peer, peer.receive())

    def _answer(self, peer: ScriptedPeer, message: Message) -> None:
        if isinstance(message, Ping):
            peer.send(Pong(message.nonce))
        elif isinstance(message, GetHeaders):
            self.header_requests += 1
            fork = next((self.heights[h] for h in message.locator if h in self.heights), 0)
            peer.send(Headers(tuple(self.headers[fork + 1 : fork + 1 + MAX_HEADERS_RESULTS])))
        elif isinstance(message, GetData):
            for item in message.items:
                raw = self.blocks.get(item.hash) if item.kind & TYPE_MASK == MSG_BLOCK else None
                self.requests.append(item.hash)
                if raw is None:
                    peer.send(NotFound((item,)))
                    continue
                changed = raw if self.on_block is None else self.on_block(item.hash, raw)
                if changed is not None:
                    peer.send_raw("block", changed)

        elif isinstance(message, GetBlockSpent) and self.spent is not None:
            _tell(peer, "bspent", MSG_BLOCK_SPENT, message.block_hash, self.spent, self.on_spent)
        elif isinstance(message, GetUtreexoProof) and self.proofs is not None:
            self.proof_requests.append(message.block_hash)
            _tell(peer, "uproof", MSG_UTREEXO_PROOF, message.block_hash, self.proofs, self.on_proof)

    def close(self) -> None:
        """Stop listening and close every connection; may be called again."""
        with contextlib.suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)  # else the thread that waits in accept() takes one more
            self._thread.join(5)  # one that it has taken is among the peers then
        self._listener.close()
        for peer in self._peers:
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _tell(
    peer: ScriptedPeer,
    command: str,
    kind: int,
    block_hash: bytes,
    items: Mapping[BlockHash, bytes],
    change: Callable[[bytes, bytes], bytes | None] | None,
) -> None:
    """Answer with what goes with a block, perhaps changed or withheld, or with notfound."""
    item = items.get(BlockHash(block_hash))
    if item is None:
        peer.send(NotFound((InvItem(kind, block_hash),)))
        return
    told = item if change is None else change(block_hash, item)
    if told is not None:
        peer.send_raw(command, block_hash + told)
