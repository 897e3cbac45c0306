"""Network addresses: texts, BIP155 records, the old 16 bytes, what is routable."""

from __future__ import annotations

import pytest

from btcnode.errors import DecodeError
from btcnode.wire.netaddr import NetAddress, Network

ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"
I2P = "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p"

HOSTS = [
    ("1.2.3.4", Network.IPV4, "01020304"),
    ("::1", Network.IPV6, "00" * 15 + "01"),
    ("2001:db8::ff00:42:8329", Network.IPV6, "20010db8000000000000ff0000428329"),
    ("fc00:1:2:3:4:5:6:7", Network.IPV6, "fc000001000200030004000500060007"),
    (ONION, Network.TORV3, "79bcc625184b05194975c28b66b66b0469f7f6556fb1ac3189a79b40dda32f1f"),
    (I2P, Network.I2P, "a2894dabaec08c0051a481a6dac88b64f98232ae42d4b6fd2fa81952dfe36a87"),
]


@pytest.mark.parametrize(("host", "network", "raw"), HOSTS)
def test_host_text(host: str, network: Network, raw: str) -> None:
    address = NetAddress.from_host(host, 8333)
    assert (address.network, address.raw.hex(), address.port) == (network, raw, 8333)
    assert address.host == host
    assert NetAddress.from_host(host.upper().replace(".ONION", ".onion"), 8333) == address
    assert NetAddress.from_bip155(network, bytes.fromhex(raw), 8333) == address


def test_text_with_port() -> None:
    assert str(NetAddress.from_host("1.2.3.4", 1)) == "1.2.3.4:1"
    assert str(NetAddress.from_host("[::1]", 2)) == "[::1]:2"
    assert str(NetAddress.from_host("fc00::1", 3).as_cjdns()) == "[fc00::1]:3"
    assert str(NetAddress.from_host(ONION, 4)) == ONION + ":4"


@pytest.mark.parametrize(
    "host",
    [
        "", "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", ":::", "fe80::1%eth0", "[::1", "1.2.3.4 ",
        ".onion", "a" * 16 + ".onion", "q" + ONION[1:], ONION.upper(), ONION[:55] + "e.onion", "ý" * 56 + ".onion",
        ".b32.i2p", I2P[1:], "a" + I2P, I2P[:51] + "r.b32.i2p", "1" * 52 + ".b32.i2p",
    ],
)  # fmt: skip
def test_wrong_host_text(host: str) -> None:
    with pytest.raises(DecodeError):
        NetAddress.from_host(host, 1)


def test_wrong_port_and_size() -> None:
    for port in (-1, 65536):
        with pytest.raises(DecodeError):
            NetAddress.from_host("1.2.3.4", port)
    with pytest.raises(DecodeError):
        NetAddress(Network.IPV4, bytes(5), 1)


def test_sixteen_bytes() -> None:
    for host in ("1.2.3.4", "2a00::1", "::"):
        address = NetAddress.from_host(host, 5)
        assert NetAddress.from_v1(address.to_v1(), 5) == address
        assert address.is_v1_compatible
    mapped = NetAddress.from_host("::ffff:1.2.3.4", 5)
    assert mapped == NetAddress.from_host("1.2.3.4", 5)
    for host in (ONION, I2P):
        assert NetAddress.from_host(host, 5).to_v1() == bytes(16)
        assert not NetAddress.from_host(host, 5).is_v1_compatible
    for prefix in ("fd87d87eeb43", "fd6b88c08724"):
        assert NetAddress.from_v1(bytes.fromhex(prefix + "01" * 10), 5).raw == bytes(16)


def test_bip155_records_to_skip() -> None:
    assert NetAddress.from_bip155(0, b"", 1) is None
    assert NetAddress.from_bip155(3, bytes(10), 1) is None  # Tor v2
    assert NetAddress.from_bip155(7, bytes(16), 1) is None
    assert NetAddress.from_bip155(255, bytes(512), 1) is None
    for prefix in ("fd87d87eeb43", "fd6b88c08724", "00" * 10 + "ffff"):
        assert NetAddress.from_bip155(2, bytes.fromhex(prefix).ljust(16, b"\1"), 1) is None
    for network, size in ((1, 3), (2, 4), (4, 35), (5, 31), (6, 15)):
        with pytest.raises(DecodeError):
            NetAddress.from_bip155(network, bytes(size), 1)


ROUTABLE = ["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "198.20.0.1", "2a00::1", "2001:470::1",
            "2002:0102:0304::1", "2001::1", "64:ff9b::102:304", "::ffff:0:102:304", ONION, I2P]  # fmt: skip
LOCAL_NETS = ["10.0.0.1", "192.168.1.1", "172.16.0.1", "172.31.255.255", "169.254.1.1", "100.64.0.1", "198.18.0.1",
              "198.19.255.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "127.0.0.1", "0.1.2.3", "::1", "fe80::1",
              "fc00::1", "fd00::1", "2001:10::1", "2001:2f:ffff::1"]  # fmt: skip
INVALID = ["0.0.0.0", "255.255.255.255", "::", "2001:db8::1"]


@pytest.mark.parametrize("host", ROUTABLE)
def test_routable(host: str) -> None:
    assert NetAddress.from_host(host, 1).is_routable


@pytest.mark.parametrize("host", LOCAL_NETS + INVALID)
def test_not_routable(host: str) -> None:
    address = NetAddress.from_host(host, 1)
    assert not address.is_routable
    assert address.is_valid == (host not in INVALID)
    assert address.is_local == (host in ("127.0.0.1", "0.1.2.3", "0.0.0.0", "::1"))


def test_cjdns() -> None:
    address = NetAddress.from_host("fc12::1", 1)
    assert address.as_cjdns() == NetAddress(Network.CJDNS, address.raw, 1)
    assert address.as_cjdns().is_routable
    assert not NetAddress(Network.CJDNS, bytes(16), 1).is_valid
    other = NetAddress.from_host("2a00::1", 1)
    assert other.as_cjdns() is other
