"""SwiftSync with real processes: a new node at height N without a lookup, and what happens when something is wrong."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from btcnode import Node
from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.hints import pack_hints, reference_hints
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess, RpcFailure, wait_until
from tests.lib.swift_fuzz import kill_often
from tests.lib.swift_nodes import KINDS, figures, name, run, write_hints

PARAMS = params_for("regtest")
ABOVE = 5  # blocks above the hints' one


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    generator = ChainGenerator(PARAMS)
    return [*generator.spread(1500), *(generator.busy(40) for _ in range(60))]


@pytest.fixture(scope="module")
def hints(chain: list[bytes]) -> list[list[int]]:
    return reference_hints(chain[: len(chain) - ABOVE])


@pytest.fixture(scope="module")
def expected(chain: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The UTXO set of a node that has synced as usual."""
    folder = tmp_path_factory.mktemp("usual")
    with (
        ChainServer.of_blocks(PARAMS, chain) as server,
        NodeProcess(folder, "regtest", "--connect", server.address, listen=False).start() as node,
    ):
        node.wait_height(len(chain))
        return figures(node)


def options(path: Path, chain: list[bytes], hints: list[list[int]], *more: str) -> tuple[str, ...]:
    return (*write_hints(path, hints), "--swiftsyncblock", name(chain[len(hints) - 1]), *more)


@pytest.mark.parametrize("more", [(), ("--par", "1"), ("--prune", "1")])
def test_a_node_at_the_tip(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any], more: tuple[str, ...]
) -> None:
    words = options(tmp_path / "hints", chain, hints, *more)
    with ChainServer.of_blocks(PARAMS, chain) as server:
        node = NodeProcess(tmp_path / "node", "regtest", *words, "--connect", server.address, listen=False)
        (tmp_path / "node").mkdir()
        with node.start():
            node.wait_height(len(chain))
            assert figures(node) == expected
            assert "SwiftSync has brought the chain to height" in node.output()
            assert not (node.net_dir / "swiftsync").exists()
            assert node.rpc("getchainstates")["chainstates"][0]["validated"]
            assert node.stop() == 0
        with node.start():
            assert node.height() == len(chain)
            assert figures(node) == expected
            assert node.rpc("verifychain", 4, 0) in (True, False)
            assert not (node.net_dir / "chainstate_snapshot").exists()
            assert "Traceback" not in node.output()


class _Daemon(NodeProcess):
    """``btcnoded``, whose options stand in its configuration file."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "btcnode.cli.daemon", f"-datadir={self.datadir}", f"-rpcport={self.rpc_port}"]


def test_hints_named_in_the_configuration_file(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any]
) -> None:
    write_hints(tmp_path / "hints", hints)
    with ChainServer.of_blocks(PARAMS, chain) as server:
        hinted = f"swiftsync={tmp_path / 'hints'}\nswiftsyncblock={name(chain[len(hints) - 1])}\n"
        (tmp_path / "node").mkdir()
        conf = f"regtest=1\n[regtest]\nlisten=0\nconnect={server.address}\n{hinted}"
        (tmp_path / "node/bitcoin.conf").write_text(conf)
        node = _Daemon(tmp_path / "node")
        with node.start():
            node.wait_height(len(chain))
            assert figures(node) == expected
            assert node.rpc("getswiftsyncinfo")["progress"] == 1
            assert node.stop() == 0


def test_hints_given_by_a_program(tmp_path: Path, chain: list[bytes], hints: list[list[int]]) -> None:
    write_hints(tmp_path / "hints", hints)

    async def sync(address: str) -> None:
        block = name(chain[len(hints) - 1])
        given: dict[str, Any] = {"swiftsync": tmp_path / "hints", "swiftsyncblock": block, "connect": [address]}
        async with Node(network="regtest", datadir=tmp_path / "node", listen=False, **given) as node:
            await node.rpc.waitforblockheight(len(chain), 120_000)
            told = await node.rpc.getswiftsyncinfo()
            assert not told["running"] and told["blocks"] == len(hints)

    with ChainServer.of_blocks(PARAMS, chain) as server:
        asyncio.run(sync(server.address))


def changed(hints: list[list[int]], how: str) -> list[list[int]]:
    """Hints that are wrong in one place."""
    wrong = [list(indices) for indices in hints]
    place = max(at for at in range(len(wrong)) if wrong[at] and wrong[at][-1] >= len(wrong[at]))
    if how == "one missing":
        del wrong[place][0]
    elif how == "one too many":
        free = next(n for n in range(wrong[place][-1]) if n not in set(wrong[place]))
        wrong[place] = sorted({*wrong[place], free})
    elif how == "another":
        free = next(n for n in range(wrong[place][-1]) if n not in set(wrong[place]))
        wrong[place] = sorted({*wrong[place][1:], free})
    else:
        wrong[place].append(wrong[place][-1] + 5000)  # no block of the chain has so many
    return wrong


@pytest.mark.parametrize("how", ["one missing", "one too many", "another", "beyond the block"])
@pytest.mark.parametrize("more", [(), ("--prune", "1")])
def test_wrong_hints_cost_time_only(
    tmp_path: Path,
    chain: list[bytes],
    hints: list[list[int]],
    expected: dict[str, Any],
    how: str,
    more: tuple[str, ...],
) -> None:
    words = options(tmp_path / "hints", chain, changed(hints, how), *more)
    with ChainServer.of_blocks(PARAMS, chain) as server, run(tmp_path / "node", server.address, *words).start() as node:
        node.wait_height(len(chain))
        assert figures(node) == expected
        assert "SwiftSync has failed" in node.output()
        assert (node.net_dir / "swiftsync/failed").exists()
        assert node.stop() == 0


def test_hints_that_have_failed_are_not_tried_again(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any]
) -> None:
    words = options(tmp_path / "hints", chain, changed(hints, "another"))
    with ChainServer.of_blocks(PARAMS, chain[: len(hints)]) as server:
        served = set()

        def note(block_hash: bytes, raw: bytes) -> bytes:
            served.add(block_hash)
            return raw

        server.on_block = note
        node = run(tmp_path / "node", server.address, *words)
        with node.start():
            wait_until(lambda: "SwiftSync has failed" in node.output(), what="the failure")
            node.kill()  # when it is known on the disk already
        assert len(served) == len(hints)
        served.clear()
        with node.start():
            node.wait_height(len(hints))
            assert node.output().count("SwiftSync to block") == 1
            assert not served  # the blocks were here
            assert node.stop() == 0


def test_hints_for_another_height_after_a_kill(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any]
) -> None:
    """What was done with the first ones is of no use, but for the blocks."""
    first = options(tmp_path / "first", chain, reference_hints(chain[: len(hints) - 20]))
    words = options(tmp_path / "hints", chain, hints)
    served = set()
    with ChainServer.of_blocks(PARAMS, chain) as server:

        def slowly(block_hash: bytes, raw: bytes) -> bytes:
            served.add(block_hash)
            time.sleep(0.02)
            return raw

        server.on_block = slowly
        node = run(tmp_path / "node", server.address)
        node.options = (*node.options, *first)
        with node.start():
            wait_until(lambda: len(served) > 40, what="some blocks")
            assert node.stop() == 0
        node.options = (*node.options[: -len(first)], *words)
        with node.start():
            node.wait_height(len(chain))
            assert figures(node) == expected
            assert f"SwiftSync has brought the chain to height {len(hints)}" in node.output()
            assert "SwiftSync goes on" not in node.output() and "SwiftSync has failed" not in node.output()
            assert node.stop() == 0


def test_a_file_that_is_no_hintsfile_stops_the_start(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]]
) -> None:
    words = options(tmp_path / "hints", chain, hints)
    whole = (tmp_path / "hints").read_bytes()
    for data, says in ((whole[:-1], "truncated"), (whole + b"\0", "more behind"), (b"PSBT" + whole, "no hintsfile")):
        (tmp_path / "hints").write_bytes(data)
        node = run(tmp_path / says, "127.0.0.1:1", *words)
        with pytest.raises(RuntimeError):
            node.start()
        assert says in node.output() and "cannot be used" in node.output()


def test_hints_for_another_height_than_the_named_block(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any]
) -> None:
    (tmp_path / "hints").write_bytes(pack_hints(hints))
    words = ("--swiftsync", str(tmp_path / "hints"), "--swiftsyncblock", name(chain[50]))
    with ChainServer.of_blocks(PARAMS, chain) as server, run(tmp_path / "node", server.address, *words).start() as node:
        node.wait_height(len(chain))
        assert figures(node) == expected
        assert f"the hints are for height {len(hints)}, and block {name(chain[50])} is at 51" in node.output()


def test_the_assumed_valid_block_says_which_block_it_is(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any]
) -> None:
    """Only with two weeks of work above, as scripts are assumed valid: here the hints end far below."""
    (tmp_path / "hints").write_bytes(pack_hints(reference_hints(chain[:20])))
    words = ("--swiftsync", str(tmp_path / "hints"), "--assumevalid", name(chain[10]))
    with ChainServer.of_blocks(PARAMS, chain) as server, run(tmp_path / "node", server.address, *words).start() as node:
        node.wait_height(len(chain))
        assert figures(node) == expected
        assert "above the assumed-valid block at 11" in node.output()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kills(tmp_path: Path, chain: list[bytes], kind: str) -> None:
    """More of them: ``scripts/fuzz/swiftsync.py --kills``."""
    kill_often(PARAMS, chain, ABOVE, kind, 10, 4, tmp_path)


def test_background_validation(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any]
) -> None:
    words = options(tmp_path / "hints", chain, hints, "--swiftsync-validate", "--coinstatsindex")
    with ChainServer.of_blocks(PARAMS, chain) as server:
        node = run(tmp_path / "node", server.address, *words)
        with node.start():
            node.wait_height(len(chain))
            wait_until(lambda: "has been fully validated" in node.output(), what="the validation")
            states = node.rpc("getchainstates")["chainstates"]
            assert [state["validated"] for state in states] == [True]
            assert figures(node) == expected
            assert node.stop() == 0
        with node.start():
            assert figures(node) == expected
            node.rpc("verifychain", 4, 0)
            assert "Traceback" not in node.output()
            assert node.stop() == 0


def test_a_peer_that_sends_broken_blocks(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any]
) -> None:
    words = options(tmp_path / "hints", chain, hints)
    with ChainServer.of_blocks(PARAMS, chain) as good, ChainServer.of_blocks(PARAMS, chain) as bad:
        broken = []

        def change(_: bytes, raw: bytes) -> bytes:
            broken.append(raw)
            return raw[:-1] + bytes((raw[-1] ^ 1,))

        bad.on_block = change
        with run(tmp_path / "node", bad.address, *words).start() as node:
            wait_until(lambda: bool(broken), what="a broken block")
            node.rpc("addnode", good.address, "onetry")
            node.wait_height(len(chain))
            assert figures(node) == expected
            assert "SwiftSync has failed" not in node.output()
            assert "Traceback" not in node.output()


def test_a_reorganisation_above(tmp_path: Path, chain: list[bytes], hints: list[list[int]]) -> None:
    words = options(tmp_path / "hints", chain, hints)
    with ChainServer.of_blocks(PARAMS, chain) as server, run(tmp_path / "node", server.address, *words).start() as node:
        node.wait_height(len(chain))
        node.rpc("invalidateblock", name(chain[len(hints)]))
        assert node.height() == len(hints)
        node.rpc("generatetoaddress", 2, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        assert node.height() == len(hints) + 2
        with pytest.raises(RpcFailure, match="cannot be taken back"):
            node.rpc("invalidateblock", name(chain[len(hints) - 3]))
        node.rpc("reconsiderblock", name(chain[len(hints)]))
        wait_until(lambda: node.height() == len(chain), what="the chain with more work")
        assert node.stop() == 0


def test_stops_in_between_lose_nothing(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any]
) -> None:
    words = options(tmp_path / "hints", chain, hints, "--prune", "1")  # what is done is in the ledger only
    served = []
    with ChainServer.of_blocks(PARAMS, chain[: len(hints)]) as server:

        def slowly(block_hash: bytes, raw: bytes) -> bytes:
            served.append(block_hash)
            time.sleep(0.02)
            return raw

        def came(count: int) -> bool:
            return len(served) >= count

        server.on_block = slowly
        node = run(tmp_path / "node", server.address, *words)
        for _ in range(3):
            enough = len(served) + 25
            node.start()
            wait_until(partial(came, enough), what="some blocks")
            assert node.stop() == 0
        with node.start():
            node.wait_height(len(hints))
            assert node.output().count("SwiftSync goes on") >= 2
            assert node.stop() == 0
    assert len(served) < 2 * len(hints)  # without what was done it would be more than three times


@pytest.mark.parametrize("moment", ["coins loaded", "loading 1"])
def test_a_kill_while_the_coins_are_loaded(
    tmp_path: Path, chain: list[bytes], hints: list[list[int]], expected: dict[str, Any], moment: str
) -> None:
    words = options(tmp_path / "hints", chain, hints)
    with (
        ChainServer.of_blocks(PARAMS, chain) as server,
        run(tmp_path / "node", server.address, *words).start() as node,
    ):
        wait_until(lambda: moment in node.output(), what=moment)
        node.kill()
        node.start()
        node.wait_height(len(chain))
        assert figures(node) == expected
        assert node.output().count("SwiftSync to block") <= 2
        assert "SwiftSync has failed" not in node.output()
        assert node.stop() == 0


def test_the_assumed_valid_block_above_the_hints(tmp_path: Path) -> None:
    """Which needs two weeks of work above the hints' block, as any assumption about scripts does."""
    generator = ChainGenerator(PARAMS)
    long = [*generator.spread(200), *(generator.busy(5) for _ in range(20)), *(generator.block() for _ in range(2100))]
    (tmp_path / "hints").write_bytes(pack_hints(reference_hints(long[:110])))
    words = ("--swiftsync", str(tmp_path / "hints"), "--assumevalid", name(long[115]))
    with ChainServer.of_blocks(PARAMS, long) as server, run(tmp_path / "node", server.address, *words).start() as node:
        node.wait_height(len(long))
        assert "SwiftSync has brought the chain to height 110" in node.output()
        with run(tmp_path / "usual", server.address).start() as usual:
            usual.wait_height(len(long))
            assert figures(usual) == figures(node)
