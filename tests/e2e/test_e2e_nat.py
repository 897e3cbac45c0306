"""Debian's miniupnpd and coturn in network namespaces: the port is mapped, the node is reached, its address is told.

Needs root, network namespaces and the two packages (installed if apt can); skips otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lib.process import NodeProcess, wait_until

PACKAGES = {"miniupnpd": "miniupnpd-nftables", "turnserver": "coturn", "nft": "nftables", "ip": "iproute2"}
LAN, INSIDE, WAN, OUTSIDE = "192.168.77.1", "192.168.77.2", "5.5.5.1", "5.5.5.2"
PORT = 18444
ADD_TABLE = """
table inet miniupnpd {
  chain forward { type filter hook forward priority 0; policy accept; }
  chain prerouting { type nat hook prerouting priority -100; policy accept; }
  chain postrouting { type nat hook postrouting priority 100; policy accept; oifname "wan" masquerade; }
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
}
"""


def run(*command: str, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    output: str = done.stdout
    return output


@pytest.fixture(scope="module")
def tools() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if missing:
        subprocess.run(
            ["apt-get", "install", "-y", "--no-install-recommends", *missing],
            capture_output=True,
            timeout=120,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    missing = [program for program in PACKAGES if shutil.which(program) is None]
    if missing:
        pytest.skip(f"cannot be installed here: {', '.join(missing)}")


class Lab:
    """Three namespaces in a row: the node's, the router, the outside."""

    def __init__(self) -> None:
        tag = uuid.uuid4().hex[:6]
        self.inside, self.router, self.outside = (f"bn-{name}-{tag}" for name in ("in", "rt", "out"))
        self.processes: list[subprocess.Popen[bytes]] = []

    def up(self) -> None:
        for name in (self.inside, self.router, self.outside):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for name, near, far, own, theirs in (
            (self.inside, "eth0", "lan", INSIDE, LAN),
            (self.outside, "eth0", "wan", OUTSIDE, WAN),
        ):
            run("ip", "link", "add", near, "netns", name, "type", "veth", "peer", "name", far, "netns", self.router)
            for where, device, address in ((name, near, own), (self.router, far, theirs)):
                run("ip", "-n", where, "addr", "add", f"{address}/24", "dev", device)
                run("ip", "-n", where, "link", "set", device, "up")
        run("ip", "-n", self.inside, "route", "add", "default", "via", LAN)
        run(*self.enter(self.router), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        run(*self.enter(self.router), "nft", "-f", "-", input=ADD_TABLE)

    def enter(self, name: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", name)

    def spawn(self, name: str, *command: str, log: Path) -> None:
        with log.open("wb") as output:
            process = subprocess.Popen([*self.enter(name), *command], stdout=output, stderr=output)
        self.processes.append(process)

    def down(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for name in (self.inside, self.router, self.outside):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.fixture
def lab(tools: None) -> Iterator[Lab]:
    made = Lab()
    try:
        try:
            made.up()
        except RuntimeError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield made
    finally:
        made.down()


class InsideNode(NodeProcess):
    """A node in the inner namespace; RPC goes through a client there."""

    def __init__(self, lab: Lab, datadir: Path, *options: str) -> None:
        super().__init__(datadir, "regtest", "--bind", f"0.0.0.0:{PORT}", *options, listen=True)
        self.prefix = self.enter = lab.enter(lab.inside)

    def command(self) -> list[str]:
        words = super().command()
        at = words.index(self.address)
        return words[: at - 1] + words[at + 1 :]

    def rpc(self, method: str, *params: Any) -> Any:
        client = [sys.executable, "-m", "btcnode.cli.client", "-regtest", f"-datadir={self.datadir}"]
        done = subprocess.run(
            [*self.enter, *client, f"-rpcport={self.rpc_port}", method, *map(str, params)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise ConnectionError(done.stderr)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout.strip()

    def local_addresses(self) -> list[tuple[str, int]]:
        return [(item["address"], item["port"]) for item in self.rpc("getnetworkinfo")["localaddresses"]]


def mappings(lab: Lab) -> str:
    return run(*lab.enter(lab.router), "nft", "list", "chain", "inet", "miniupnpd", "prerouting_miniupnpd")


@pytest.mark.parametrize("option", ["--upnp", "--natpmp"])
def test_the_port_is_mapped_and_the_node_reached(lab: Lab, tmp_path: Path, option: str) -> None:
    config = tmp_path / "miniupnpd.conf"
    config.write_text(
        "ext_ifname=wan\nlistening_ip=lan\nenable_upnp=yes\nenable_natpmp=yes\nsecure_mode=yes\n"
        f"ext_ip={WAN}\nuuid={uuid.uuid4()}\nmin_lifetime=120\nmax_lifetime=86400\n"
        "upnp_table_name=miniupnpd\nupnp_nat_table_name=miniupnpd\nupnp_forward_chain=miniupnpd\n"
        "upnp_nat_chain=prerouting_miniupnpd\nupnp_nat_postrouting_chain=postrouting_miniupnpd\n"
        "allow 1024-65535 0.0.0.0/0 1024-65535\n"
    )
    run(
        *lab.enter(lab.router), "nft",
        "add rule inet miniupnpd prerouting iifname wan jump prerouting_miniupnpd;"
        " add rule inet miniupnpd postrouting oifname wan jump postrouting_miniupnpd;"
        " add rule inet miniupnpd forward jump miniupnpd",
    )  # fmt: skip
    pid = tmp_path / "pid"
    lab.spawn(lab.router, "miniupnpd", "-d", "-f", str(config), "-P", str(pid), log=tmp_path / "miniupnpd.log")
    with InsideNode(lab, tmp_path, option, "--debug", "net").start() as node:
        try:
            wait_until(lambda: (WAN, PORT) in node.local_addresses(), 15, "the mapping")
        except TimeoutError:
            pytest.fail((tmp_path / "miniupnpd.log").read_text()[-2000:] + node.output()[-2000:])
        assert str(PORT) in mappings(lab)
        code = f"import socket; s = socket.create_connection(({WAN!r}, {PORT}), 5); print('open')"
        assert run(*lab.enter(lab.outside), sys.executable, "-c", code).strip() == "open"
        assert node.stop() == 0
    assert str(PORT) not in mappings(lab)


def test_stun_tells_the_external_address(lab: Lab, tmp_path: Path) -> None:
    lab.spawn(
        lab.outside, "turnserver", "-n", "-S", "-L", OUTSIDE, "--no-cli", "-l", "stdout",
        "--pidfile", str(tmp_path / "pid"), log=tmp_path / "coturn.log",
    )  # fmt: skip
    probe = f"import socket; socket.create_connection(({OUTSIDE!r}, 3478), 1)"

    def answers() -> bool:
        return (
            subprocess.run([*lab.enter(lab.outside), sys.executable, "-c", probe], capture_output=True).returncode == 0
        )

    wait_until(answers, 15, "coturn")
    with InsideNode(lab, tmp_path, "--stun", "--stunserver", OUTSIDE, "--debug", "net").start() as node:
        try:
            wait_until(lambda: (WAN, PORT) in node.local_addresses(), 15, "the address")
        except TimeoutError:
            pytest.fail((tmp_path / "coturn.log").read_text()[-2000:] + node.output()[-2000:])
        assert node.stop() == 0
