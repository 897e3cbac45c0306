"""Connections through other people's programs: Debian's microsocks, Tor and i2pd; I2P streams between real nodes.

The programs are installed if apt can; a test whose program is missing skips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from btcnode.net.proxy.sam import address_of, destination_of
from btcnode.wire.netaddr import NetAddress
from tests.lib.process import NodeProcess, free_port, wait_until
from tests.lib.sam_bridge import SamBridge

ADDRESS = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"
BLOCKS = 3


def need(program: str) -> str:
    """The path of a Debian program of the same package name."""
    places = f"{os.environ['PATH']}:/usr/sbin"
    if shutil.which(program, path=places) is None and os.getuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "-y", "--no-install-recommends", program],
            capture_output=True,
            timeout=120,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    path = shutil.which(program, path=places)
    if path is None:
        pytest.skip(f"cannot be installed here: {program}")
    return path


@contextmanager
def running(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:  # i2pd takes its time to say good-bye
            process.kill()
            process.wait()


def make(tmp_path: Path, name: str, *options: str, listen: bool = True) -> NodeProcess:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    return NodeProcess(folder, "regtest", *options, listen=listen)


def networks(node: NodeProcess) -> dict[str, dict[str, object]]:
    return {item["name"]: item for item in node.rpc("getnetworkinfo")["networks"]}


@pytest.fixture
def source(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node with a few blocks, which also takes what Tor hands over."""
    node = make(tmp_path, "source")
    node.options = ("--connect", "0", "--bind", f"127.0.0.1:{free_port()}=onion")
    with node.start():
        node.rpc("generatetoaddress", BLOCKS, ADDRESS)
        yield node


def test_a_socks5_proxy_carries_the_chain(tmp_path: Path, source: NodeProcess) -> None:
    port, log = free_port(), tmp_path / "proxy.log"
    proxy = f"127.0.0.1:{port}"
    with running(log, need("microsocks"), "-i", "127.0.0.1", "-p", str(port)):
        # a name: the proxy looks it up, while addresses of this host would be reached without it
        target = f"localhost:{source.port}"
        node = make(tmp_path, "node", "--proxy", proxy, "--connect", target, listen=False)
        with node.start():
            wait_until(lambda: node.rpc("getblockcount") == BLOCKS, what="the chain")
            peer = node.rpc("getpeerinfo")[0]
            assert (peer["addr"], peer["network"]) == (target, "not_publicly_routable")
            assert peer["bytesrecv"] > 0
            found = networks(node)
            assert {found[name]["proxy"] for name in ("ipv4", "ipv6", "onion")} == {proxy}
            assert node.rpc("getaddednodeinfo") == []
    assert f"connected to localhost:{source.port}" in log.read_text()


def test_a_proxy_that_is_gone_lets_nothing_out(tmp_path: Path, source: NodeProcess) -> None:
    gone = f"127.0.0.1:{free_port()}"
    options = ("--proxy", gone, "--connect", f"localhost:{source.port}", "--debug", "net")
    node = make(tmp_path, "node", *options, listen=False)
    with node.start():
        wait_until(lambda: f"Cannot connect to {gone}" in node.output(), what="the failure")
        assert node.rpc("getpeerinfo") == []
        assert source.rpc("getpeerinfo") == []


def test_who_comes_through_tor_is_of_its_network(tmp_path: Path, source: NodeProcess) -> None:
    door = source.options[-1].removesuffix("=onion")
    node = make(tmp_path, "node", "--connect", door, listen=False)
    with node.start():
        wait_until(lambda: node.rpc("getblockcount") == BLOCKS, what="the chain")
        assert [peer["network"] for peer in source.rpc("getpeerinfo")] == ["onion"]


def test_tor_makes_an_onion_service(tmp_path: Path) -> None:
    tor = need("tor")
    port, socks, folder = free_port(), free_port(), tmp_path / "tor"
    (tmp_path / "torrc").touch()
    # a bridge that does not exist keeps this Tor from talking to the world
    command = (
        tor, "-f", str(tmp_path / "torrc"), "--DataDirectory", str(folder), "--ControlPort", str(port),
        "--SocksPort", str(socks), "--CookieAuthentication", "1", "--UseBridges", "1", "--Bridge", "127.0.0.1:1",
    )  # fmt: skip
    node = make(tmp_path, "node", "--connect", "0")

    def service() -> str:
        """Where the node says it is, once Tor has made the service."""
        with running(tmp_path / "tor.log", *command):
            wait_until((folder / "control_auth_cookie").exists, what="Tor")
            with node.start("--listenonion", "--torcontrol", f"127.0.0.1:{port}"):
                wait_until(lambda: bool(node.rpc("getnetworkinfo")["localaddresses"]), what="the onion service")
                found = networks(node)["onion"]
                assert (found["reachable"], found["proxy"]) == (True, f"127.0.0.1:{socks}")
                assert found["proxy_randomize_credentials"] is True
                (own,) = node.rpc("getnetworkinfo")["localaddresses"]
                assert own["port"] == 18444  # the network's, whatever the node listens at
                return str(own["address"])

    first = service()
    assert NetAddress.from_host(first, 1).host == first
    assert (node.net_dir / "onion_v3_private_key").read_text().startswith("ED25519-V3:")
    assert service() == first  # the key is kept


def test_i2pd_makes_our_key(tmp_path: Path) -> None:
    port = free_port()
    command = (
        need("i2pd"), f"--datadir={tmp_path / 'i2pd'}", "--sam.enabled=true", "--sam.address=127.0.0.1",
        f"--sam.port={port}", "--http.enabled=0", "--httpproxy.enabled=0", "--socksproxy.enabled=0",
        "--ssu2.enabled=0", "--ifname=lo", "--host=127.0.0.1", f"--ntcp2.port={free_port()}", f"--port={free_port()}",
        "--reseed.threshold=0",
    )  # fmt: skip
    with running(tmp_path / "i2pd.log", *command) as router:
        node = make(tmp_path, "node", "--connect", "0", "--i2psam", f"127.0.0.1:{port}")
        with node.start():
            key = node.net_dir / "i2p_private_key"
            wait_until(lambda: key.exists() or router.poll() is not None, what="the key")
            if router.poll() is not None:
                pytest.skip("i2pd does not run here")
            assert address_of(destination_of(key.read_bytes())).host.endswith(".b32.i2p")
            found = networks(node)["i2p"]
            assert (found["reachable"], found["proxy"]) == (True, f"127.0.0.1:{port}")


def test_i2p_streams_carry_the_chain(tmp_path: Path) -> None:
    with SamBridge() as bridge:
        sam = ("--i2psam", f"127.0.0.1:{bridge.port}")
        source = make(tmp_path, "source", "--connect", "0", *sam)
        node = make(tmp_path, "node", "--connect", "0", "--no-i2pacceptincoming", *sam, listen=False)
        with source.start(), node.start():
            source.rpc("generatetoaddress", BLOCKS, ADDRESS)
            wait_until(lambda: bool(source.rpc("getnetworkinfo")["localaddresses"]), what="the address")
            (own,) = source.rpc("getnetworkinfo")["localaddresses"]
            assert own["port"] == 0
            node.rpc("addnode", own["address"], "onetry")
            wait_until(lambda: node.rpc("getblockcount") == BLOCKS, what="the chain")
            (outgoing,), (incoming,) = node.rpc("getpeerinfo"), source.rpc("getpeerinfo")
            assert outgoing["network"] == incoming["network"] == "i2p"
            assert outgoing["addr"] == incoming["addrbind"] == f"{own['address']}:0"
            assert incoming["addr"] == outgoing["addrbind"]  # the address that was made for this connection
            node.rpc("disconnectnode", "", outgoing["id"])
            wait_until(lambda: not source.rpc("getpeerinfo"), what="the end")
        assert source.output().count("Traceback") == node.output().count("Traceback") == 0
    created = [line for line in bridge.requests if line.startswith("SESSION CREATE")]
    assert [" DESTINATION=TRANSIENT " in line for line in created] == [False, True]
