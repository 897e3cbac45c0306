"""What the helper process does: UPnP by miniupnpc, STUN by pystun3. Blocking; results are JSON objects.

An object with ``error`` says why there is no result. See ``btcnode.net.nat.helper`` for what bounds it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

DISCOVER_DELAY = 2000  # milliseconds for devices to answer
STUN_TIMEOUT = 1.0  # seconds for each of pystun3's four tries
STUN_BUDGET = 15.0  # seconds for all servers together
STUN_DEFAULT_PORT = 3478


def limit_memory(size: int) -> None:
    """Bound this process's address space, where the system can."""
    with suppress(ImportError):
        import resource

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _gateway(root: str) -> Any:
    import miniupnpc

    device = miniupnpc.UPnP()
    device.discoverdelay = DISCOVER_DELAY
    if root:
        device.selectigd(root)
    else:
        if not device.discover():
            raise OSError("no UPnP device answers")
        device.selectigd()
    return device


def upnp_open(port: str, lease: str, root: str = "") -> dict[str, Any]:
    """Map TCP ``port`` for ``lease`` seconds; ``root`` is the description's address, else devices are looked for."""
    try:
        device = _gateway(root)
        external = device.externalipaddress()
        arguments = (int(port), "TCP", device.lanaddr, int(port), "btcnode", "")
        try:
            device.addportmapping(*arguments, int(lease))
        except TypeError:  # before miniupnpc 2.3 there was no lease: forever, or until we remove it
            device.addportmapping(*arguments)
    except Exception as error:  # miniupnpc raises bare Exception
        return {"error": f"UPnP: {error}"}
    return {"host": external, "port": int(port)}


def upnp_close(port: str, root: str = "") -> dict[str, Any]:
    """Remove the mapping of TCP ``port``."""
    try:
        _gateway(root).deleteportmapping(int(port), "TCP", "")
    except Exception as error:  # miniupnpc raises bare Exception
        return {"error": f"UPnP: {error}"}
    return {}


class _ConnectedSocket:
    """What pystun3 takes for its socket: talks to one server and never longer than until ``deadline``.

    Datagrams from elsewhere do not get through; those without a known message type or of bad length are dropped
    here, as pystun3 would raise on them or read behind their end.
    """

    def __init__(self, address: tuple[str, int], deadline: float) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(address)
        self._deadline = deadline

    def sendto(self, data: bytes, address: object) -> int:
        """Send to the server, whatever ``address`` says; past the deadline raises what ends pystun3's loop."""
        if time.monotonic() > self._deadline:
            raise socket.gaierror("out of time")
        return self._socket.send(data)

    def recvfrom(self, size: int) -> tuple[bytes, object]:
        """The next datagram that has the form of a binding response."""
        until = min(time.monotonic() + STUN_TIMEOUT, self._deadline)
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            data = self._socket.recv(65535)
            if len(data) <= size and is_binding_response(data):
                return data, self._socket.getpeername()
        raise TimeoutError

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def is_binding_response(data: bytes) -> bool:
    """Whether a datagram is a STUN binding response whose lengths fit, with whole IPv4 addresses (RFC 3489)."""
    if len(data) < 20 or data[:2] != b"\x01\x01" or int.from_bytes(data[2:4], "big") != len(data) - 20:
        return False
    at = 20
    while at < len(data):
        if at + 4 > len(data):
            return False
        kind, size = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 + size > len(data) or (kind in (1, 4, 5) and (size != 8 or data[at + 5] != 1)):
            return False
        at += 4 + size
    return True


def stun_address(*servers: str) -> dict[str, Any]:
    """The external IPv4 address that the first answering server of ``host:port`` sees."""
    import stun

    stun._initialize()  # its tables are empty before; its own entry points bind a fixed port and try NAT types
    deadline = time.monotonic() + STUN_BUDGET
    for text in servers or tuple(f"{host}:{STUN_DEFAULT_PORT}" for host in stun.STUN_SERVERS):
        host, _, port = text.rpartition(":")
        try:
            address = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)[0][4]
            sock = _ConnectedSocket((str(address[0]), int(address[1])), deadline)
        except OSError:
            continue
        try:
            answer = stun.stun_test(sock, host, int(port), "0.0.0.0", 0)
        except OSError:
            continue
        finally:
            sock.close()
        if answer["Resp"] and answer["ExternalIP"] is not None:
            return {"host": answer["ExternalIP"]}
    return {"error": "STUN: no server answers"}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "upnp-open": upnp_open,
    "upnp-close": upnp_close,
    "stun": stun_address,
}
