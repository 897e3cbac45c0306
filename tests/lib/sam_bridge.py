"""A SAM 3.1 bridge without I2P behind it: sessions at the same bridge reach each other, nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

from btcnode.net.proxy.sam import address_of, decode_base64, destination_of, encode_base64, parse_reply

KEY_SIZE = 387 + 64  # a destination without certificate, and something secret
CHUNK = 65536


class SamBridge:
    """Listens at 127.0.0.1 in a thread of its own; use it as a context manager."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[str] = []
        self._sessions: dict[str, bytes] = {}  # id -> destination
        self._waiting: dict[bytes, asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._stopped = asyncio.Event()

    def __enter__(self) -> SamBridge:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := (await reader.readline()).decode().rstrip():
                self.requests.append(line)
                if line.startswith("STREAM CONNECT"):
                    await self._connect(parse_reply(line), reader, writer)
                    return
                if line.startswith("STREAM ACCEPT"):
                    writer.write(b"STREAM STATUS RESULT=OK\n")
                    await self._queue(self._sessions[parse_reply(line)["ID"]]).put((reader, writer))
                    return
                writer.write(self._answer(line).encode() + b"\n")
        except ConnectionError:
            writer.close()

    def _answer(self, line: str) -> str:
        values = parse_reply(line)
        if line.startswith("HELLO"):
            return "HELLO REPLY RESULT=OK VERSION=3.1"
        if line.startswith("DEST GENERATE"):
            return f"DEST REPLY PUB=unused PRIV={_new_key()}"
        if line.startswith("SESSION CREATE"):
            key = _new_key() if values["DESTINATION"] == "TRANSIENT" else values["DESTINATION"]
            self._sessions[values["ID"]] = destination_of(decode_base64(key))
            return f"SESSION STATUS RESULT=OK DESTINATION={key}"
        if line.startswith("NAMING LOOKUP"):
            for destination in self._sessions.values():
                if address_of(destination).host == values["NAME"]:
                    return f"NAMING REPLY RESULT=OK NAME={values['NAME']} VALUE={encode_base64(destination)}"
            return "NAMING REPLY RESULT=KEY_NOT_FOUND"
        return "STREAM STATUS RESULT=I2P_ERROR"

    def _queue(self, destination: bytes) -> asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        return self._waiting.setdefault(destination, asyncio.Queue())

    async def _connect(
        self, values: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Join the stream with the next one that waits at its destination."""
        far_reader, far_writer = await self._queue(decode_base64(values["DESTINATION"])).get()
        far_writer.write(encode_base64(self._sessions[values["ID"]]).encode() + b"\n")
        writer.write(b"STREAM STATUS RESULT=OK\n")
        await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


def _new_key() -> str:
    return encode_base64(os.urandom(384) + bytes(3) + os.urandom(KEY_SIZE - 387))
