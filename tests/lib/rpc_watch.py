"""How long getblockcount waits while something else is asked, and how long that takes."""

from __future__ import annotations

import base64
import socket
import threading
import time

PAUSE = 0.002


class Watch:
    """Asks getblockcount in a thread and notes the longest wait; the answer must be ``height``."""

    def __init__(self, port: int, login: str, height: int) -> None:
        self.worst = 0.0
        self._height = height
        self._ended = threading.Event()
        self._sock = socket.create_connection(("127.0.0.1", port), 120)
        self._request = http_post(login, b'{"method": "getblockcount"}')
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._sock as sock:
            while not self._ended.is_set():
                begun = time.perf_counter()
                sock.sendall(self._request)
                if f'"result":{self._height}'.encode() not in sock.recv(65_536):
                    raise RuntimeError("getblockcount was not answered")
                self.worst = max(self.worst, time.perf_counter() - begun)
                time.sleep(PAUSE)

    def stop(self) -> float:
        """Seconds that it waited at worst."""
        self._ended.set()
        self._thread.join()
        return self.worst


def http_post(login: str, body: bytes) -> bytes:
    """A request that ends its connection."""
    secret = base64.b64encode(login.encode()).decode()
    return f"POST / HTTP/1.1\r\nAuthorization: Basic {secret}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def ask(port: int, request: bytes, seconds: float) -> tuple[float, bytes]:
    """How long a request took until its whole answer was here, and that; empty when there is none in time."""
    begun = time.perf_counter()
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), seconds) as sock:
        try:
            sock.sendall(request)
            while (end := answer.find(b"\r\n\r\n")) < 0 or len(answer) < end + 4 + _length(answer[:end]):
                data = sock.recv(1 << 20)
                if not data:
                    break
                answer += data
        except TimeoutError:
            answer.clear()
    return time.perf_counter() - begun, bytes(answer).partition(b"\r\n\r\n")[2]


def _length(head: bytearray) -> int:
    found = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(found[0].partition(b":")[2]) if found else 1 << 60
