"""The address book of real nodes: kept over restarts, moved to other buckets by a map, told to other nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.asmap_maker import random_map
from tests.lib.process import NodeProcess, wait_until

HOSTS = [f"{20 + i}.{i}.7.9" for i in range(60)]


def places(node: NodeProcess) -> dict[str, dict[str, str]]:
    """Who lies where in which table."""
    tables = node.rpc("getrawaddrman")
    return {name: {place: entry["address"] for place, entry in table.items()} for name, table in tables.items()}


def test_the_book_outlives_restarts_and_follows_a_map(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, listen=False) as node:
        node.start("--connect", "0", "--checkaddrman", "1")
        for number, host in enumerate(HOSTS):
            node.rpc("addpeeraddress", host, 8333, number % 3 == 0)
        before = places(node)
        assert len(before["new"]) + len(before["tried"]) > 50
        node.stop()

        node.start("--connect", "0", "--checkaddrman", "1")
        assert places(node) == before
        node.stop()

        (node.net_dir / "systems.dat").write_bytes(random_map(1))
        node.start("--connect", "0", "--asmap", "systems.dat")
        after = node.rpc("getrawaddrman")
        assert any("mapped_as" in entry for entry in (*after["new"].values(), *after["tried"].values()))
        assert sorted(after["tried"]) != sorted(before["tried"])
        assert "ASMap Health Check: " in node.output()
        node.stop()

        path = node.net_dir / "peers.dat"
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(RuntimeError, match=r"Invalid or corrupt peers\.dat"):
            node.start("--connect", "0")


def test_a_node_learns_addresses_of_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with NodeProcess(tmp_path / "a") as a, NodeProcess(tmp_path / "b", listen=False) as b:
        a.start()
        for host in HOSTS:
            a.rpc("addpeeraddress", host, 8333)
        b.start("--connect", a.address, "--capturemessages")
        wait_until(lambda: len(b.rpc("getnodeaddresses", 0)) >= 10, what="addresses")
        told = {entry["address"] for entry in b.rpc("getnodeaddresses", 0)}
        assert told <= set(HOSTS)
        processed = b.rpc("getpeerinfo")[0]["addr_processed"]
        assert len(told) <= processed <= len(HOSTS) * 23 // 100  # two may want one place of the table
        (received,) = (b.net_dir / "message_capture").glob("*/msgs_recv.dat")
        assert b"addrv2" in received.read_bytes()
