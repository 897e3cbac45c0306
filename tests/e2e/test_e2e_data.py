"""``btcnode export`` and ``btcnode verify`` beside real nodes, killed in the middle, on Dask, and what others read."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from btcnode.data.folder import BlockFolder
from btcnode.data.tasks import TaskRunner
from btcnode.data.verification import FolderWork, verify_chain
from tests.lib.bitcoind import Bitcoind, find_bitcoind
from tests.lib.block_folder import busy_chain, folder_of
from tests.lib.chain_generator import ChainGenerator
from tests.lib.full_disk import enlarge, small_disk
from tests.lib.mini_chain import REGTEST, MiniChain
from tests.lib.process import NodeProcess, environment, wait_until
from tests.unit.data.test_data_verify import chain_with_three_faults
from tests.vectors.test_data_tables import FIGURES, READERS

TABLES = ("blocks", "transactions", "inputs", "outputs")


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "btcnode", *map(str, words)]


def btcnode(*words: object) -> tuple[int, str]:
    """Exit status and output of a command."""
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=240, check=False, env=environment())
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.*")) if path.is_file()}


def generated(blocks: int = 5) -> list[bytes]:
    generator = ChainGenerator(REGTEST)
    return [*generator.spread(400), *(generator.busy(25) for _ in range(blocks))]


def rows(out: Path, table: str) -> list[dict[str, Any]]:
    return [row for path in sorted((out / table).iterdir()) for row in pq.read_table(path).to_pylist()]


def check_with_rpc(out: Path, ask: Callable[..., Any]) -> None:
    """Totals of every block of an export as ``getblockstats`` has them."""
    for row in rows(out, "blocks"):
        if not row["height"]:
            continue
        told = ask("getblockstats", row["height"])
        assert told["blockhash"] == row["hash"].hex()
        figures = row["fees"], row["tx_count"], row["input_count"], row["output_count"], row["subsidy"]
        names = "totalfee", "txs", "ins", "outs", "subsidy"
        assert figures == tuple(told[name] for name in names)
        assert (int(row["time"].timestamp()), int(row["median_time"].timestamp())) == (told["time"], told["mediantime"])


def test_a_running_node_is_exported_and_verified(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    with NodeProcess(tmp_path / "node", "regtest", listen=False).start() as node:
        chain = generated()
        for raw in chain:
            assert node.rpc("submitblock", raw.hex()) is None
        own = "--network", "regtest", "--datadir", node.datadir, "--rpcport", node.rpc_port
        out = tmp_path / "out"
        status, text = btcnode("export", *own, "--out", out, "--with-prevouts", "--partition", 10)
        assert (status, f"0 to {len(chain)}:" in text) == (0, True), text
        check_with_rpc(out, node.rpc)
        files = "--report", tmp_path / "report.json", "--plot", tmp_path / "plot.svg"
        status, text = btcnode("verify", *own, "--ask-node", "--workers", 2, "--task-mb", 1, *files)
        told = node.rpc("gettxoutsetinfo", "muhash")
        report = json.loads((tmp_path / "report.json").read_text())
        assert status == 0, text
        assert (report["muhash"], report["txouts"], report["bestblock"]) == (
            told["muhash"], told["txouts"], told["bestblock"],
        )  # fmt: skip
        assert report["total_amount"] == round(told["total_amount"] * 10**8)
        assert (tmp_path / "plot.svg").read_text().startswith("<svg")


def test_an_export_follows_a_node_through_a_reorganisation(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    out = tmp_path / "out"
    with NodeProcess(tmp_path / "node", "regtest", listen=False).start() as node:
        first = node.rpc("generatetodescriptor", 25, "raw(51)")
        words = "--network", "regtest", "--datadir", node.datadir, "--out", out, "--follow", "--poll", 0.2
        following = subprocess.Popen(command("export", *words, "--partition", 10), env=environment())
        try:

            def tip() -> str:
                found = sorted((out / "manifest").glob("*.json"))
                return str(json.loads(found[-1].read_text())["hashes"][-1]) if found else ""

            def is_there(block: str) -> Callable[[], bool]:
                return lambda: tip() == block

            wait_until(is_there(first[-1]), 60, "the export")
            old = (out / "manifest/0000000010-0000000019.json").stat()
            node.rpc("invalidateblock", first[-3])
            second = node.rpc("generatetodescriptor", 4, "raw(52)")
            wait_until(is_there(second[-1]), 60, "the other chain")
            assert (out / "manifest/0000000010-0000000019.json").stat().st_mtime_ns == old.st_mtime_ns
        finally:
            following.send_signal(signal.SIGINT)
            assert following.wait(60) == 130
        assert [row["hash"].hex() for row in rows(out, "blocks")][-4:] == second
        heights = [row["height"] for row in rows(out, "blocks")]
        assert heights == list(range(27))


def test_a_killed_export_goes_on_and_ends_with_the_same_files(tmp_path: Path) -> None:
    chain = busy_chain(30, 20)
    folder_of(chain, tmp_path / "blocks", file_size=200_000)
    words = "--network", "regtest", "--blocks", tmp_path / "blocks", "--with-prevouts", "--partition", 10
    assert btcnode("export", *words, "--out", tmp_path / "whole")[0] == 0
    killed = 0
    out = tmp_path / "out"
    for number in range(12):
        own = command("export", *words, "--out", out, "--workers", 2)
        process = subprocess.Popen(own, env=environment(), stdout=subprocess.PIPE)

        def has_more(least: int = number, process: subprocess.Popen[bytes] = process) -> bool:
            return process.poll() is not None or len(list(out.glob("manifest/*.json"))) > least

        wait_until(has_more, 60, "a partition")
        if process.poll() is None:
            process.kill()
            killed += 1
        process.communicate()
        if contents(out) == contents(tmp_path / "whole"):
            break
    assert killed >= 2
    assert btcnode("export", *words, "--out", out)[0] == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_a_disk_that_gets_full_leaves_whole_partitions(tmp_path: Path) -> None:
    """Of a file system without room for all: one line, and with room again it goes on."""
    chain = busy_chain(30, 20)
    folder_of(chain, tmp_path / "blocks", file_size=200_000)
    words = "--network", "regtest", "--blocks", tmp_path / "blocks", "--with-prevouts", "--partition", 10
    assert btcnode("export", *words, "--out", tmp_path / "whole")[0] == 0
    size = sum(map(len, contents(tmp_path / "whole").values()))
    with small_disk(tmp_path / "disk", size // 2):
        out = tmp_path / "disk/out"
        status, text = btcnode("export", *words, "--out", out, "--workers", 2)
        assert status == 1 and "no room left: nothing was lost" in text and len(text.strip().splitlines()) == 1, text
        there = sorted((out / "manifest").glob("*.json"))
        assert there
        for path in there:
            for table in TABLES:
                name = f"{table}/{path.stem}.parquet"
                assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert not list(out.rglob("*.new"))
        enlarge(tmp_path / "disk", 4 * size)
        status, text = btcnode("export", *words, "--out", out, "--workers", 2)
        assert status == 0 and f"{len(there)} partitions were there" in text, text
        assert contents(out) == contents(tmp_path / "whole")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, MiniChain]]:
    chain = busy_chain(20, 25)
    path = tmp_path_factory.mktemp("data") / "blocks"
    folder_of(chain, path)
    yield path, chain


def alone(path: Path) -> dict[str, Any]:
    with TaskRunner() as runner:
        return verify_chain(FolderWork(BlockFolder(path, REGTEST)), runner, task_bytes=3000).as_json()


def same(report: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on who has done the work."""
    return {name: report[name] for name in ("valid", "blocks", "inputs", "size", "muhash", "txouts", "total_amount")}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_scheduler_gives_the_same(folder: tuple[Path, MiniChain], count: int) -> None:
    from distributed import LocalCluster

    path, _ = folder
    with (
        LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster,
        TaskRunner(scheduler=cluster.scheduler_address) as runner,
    ):
        report = verify_chain(FolderWork(BlockFolder(path, REGTEST)), runner, task_bytes=3000).as_json()
    assert same(report) == same(alone(path)) and report["valid"]
    assert str(os.getpid()) not in "".join(report["workers"])


@contextmanager
def local() -> Iterator[tuple[TaskRunner, Callable[[], int]]]:
    """Processes of this machine, and how to find one of them."""
    with TaskRunner(workers=2) as runner:
        yield runner, lambda: multiprocessing.active_children()[0].pid or 0


@contextmanager
def on_dask() -> Iterator[tuple[TaskRunner, Callable[[], int]]]:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        TaskRunner(scheduler=cluster.scheduler_address) as runner,
    ):
        yield runner, lambda: next(iter(cluster.workers.values())).pid


@pytest.mark.parametrize("cluster", [local, on_dask])
def test_what_is_wrong_is_named_by_many_too(tmp_path: Path, cluster: Callable[[], Any]) -> None:
    """A bad signature, an inflated coinbase, a coin spent twice, while a worker is killed."""
    chain, faults = chain_with_three_faults()
    folder_of(chain, tmp_path / "blocks")
    killed: list[int] = []
    with cluster() as (runner, a_process):

        def kill_one(done: int, total: int) -> None:
            if done > total // 3 and not killed:
                killed.append(a_process())
                os.kill(killed[0], signal.SIGKILL)

        work = FolderWork(BlockFolder(tmp_path / "blocks", REGTEST))
        report = verify_chain(work, runner, task_bytes=1000, show=kill_one)
    assert killed and not report.is_good
    assert [(item.height, item.reason.partition(" ")[0], item.txid, item.input) for item in report.failures] == faults


@pytest.mark.parametrize("cluster", [local, on_dask])
def test_a_worker_that_is_killed_changes_nothing(folder: tuple[Path, MiniChain], cluster: Callable[[], Any]) -> None:
    path, _ = folder
    killed: list[int] = []
    with cluster() as (runner, a_process):

        def kill_one(done: int, total: int) -> None:
            if done > total // 3 and not killed:
                killed.append(a_process())
                os.kill(killed[0], signal.SIGKILL)

        work = FolderWork(BlockFolder(path, REGTEST))
        report = verify_chain(work, runner, task_bytes=3000, show=kill_one).as_json()
    assert killed and same(report) == same(alone(path))
    assert report["lost_workers"] >= 1


def test_a_scheduler_that_is_not_there(folder: tuple[Path, MiniChain]) -> None:
    status, text = btcnode("verify", "--network", "regtest", "--blocks", folder[0], "--scheduler", "tcp://127.0.0.1:1")
    assert (status, text.startswith("Error: The scheduler tcp://127.0.0.1:1 cannot be reached")) == (1, True), text


def exported(folder: tuple[Path, MiniChain], out: Path) -> dict[str, int]:
    """An export, and what its totals have to be."""
    path, chain = folder
    assert btcnode("export", "--network", "regtest", "--blocks", path, "--out", out, "--with-prevouts")[0] == 0
    return {
        "fees": sum(delta.fees for _, delta in chain.history),
        "size": sum(block.size for block, _ in chain.history) + len(REGTEST.genesis_block),
        "inputs": sum(len(block.in_pos) for block, _ in chain.history) + 1,
    }


def test_duckdb_reads_an_export(folder: tuple[Path, MiniChain], tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    expected = exported(folder, tmp_path / "out")
    found = duckdb.sql(f"select sum(fees), sum(size) from '{tmp_path}/out/blocks/*.parquet'").fetchall()[0]
    assert found == (expected["fees"], expected["size"])
    query = f"""
        select count(*), count(o.value), sum(abs(i.prev_value - o.value))
        from '{tmp_path}/out/inputs/*.parquet' i left join '{tmp_path}/out/outputs/*.parquet' o
        on i.prev_txid = o.txid and i.prev_output = o.output"""
    coinbases = folder[1].tip + 1
    assert duckdb.sql(query).fetchall()[0] == (expected["inputs"], expected["inputs"] - coinbases, 0)


def test_polars_reads_an_export(folder: tuple[Path, MiniChain], tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    expected = exported(folder, tmp_path / "out")
    found = polars.read_parquet(f"{tmp_path}/out/blocks/*.parquet")
    assert (found["fees"].sum(), found["size"].sum()) == (expected["fees"], expected["size"])
    assert polars.scan_parquet(f"{tmp_path}/out/inputs/*.parquet").collect().height == expected["inputs"]


def test_pandas_reads_an_export(folder: tuple[Path, MiniChain], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    expected = exported(folder, tmp_path / "out")
    found = pandas.read_parquet(tmp_path / "out/blocks")
    assert (int(found["fees"].sum()), int(found["size"].sum())) == (expected["fees"], expected["size"])


@pytest.mark.parametrize("options", [(), ("-blocksxor=0",)], ids=["obfuscated", "clear"])
def test_core_s_folder_is_read_as_ours(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Its files are preallocated, and it runs on."""
    daemon = find_bitcoind()
    if daemon is None:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    (tmp_path / "core").mkdir()
    chain = generated()
    last = int.from_bytes(chain[-1][68:72], "little")
    with Bitcoind(daemon, tmp_path / "core", *options, start=last + 600) as node:
        for raw in chain:
            assert node.rpc("submitblock", raw.hex()) is None
        key = (tmp_path / "core/regtest/blocks/xor.dat").read_bytes()
        assert (key == bytes(8)) == bool(options)
        core = "--network", "regtest", "--blocks", tmp_path / "core/regtest/blocks"
        status, text = btcnode("export", *core, "--out", tmp_path / "out", "--with-prevouts")
        assert status == 0 and f"0 to {len(chain)}:" in text, text
        check_with_rpc(tmp_path / "out", node.rpc)
        muhash = node.rpc("gettxoutsetinfo", "muhash")["muhash"]
        status, text = btcnode("verify", *core, "--muhash", muhash, "--workers", 1)
        assert status == 0 and text.rstrip().endswith("valid"), text
    status, text = btcnode("verify", "--network", "regtest", "--tables", tmp_path / "out", "--muhash", "00" * 32)
    assert status == 1 and f"muhash {muhash}" in text and "NOT VALID" in text


def test_core_s_pruned_folder_says_so(tmp_path: Path) -> None:
    daemon = find_bitcoind()
    if daemon is None:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    with Bitcoind(daemon, tmp_path, "-prune=1", "-fastprune") as node:
        node.rpc("generatetodescriptor", 700, "raw(51)")
        assert node.rpc("pruneblockchain", 350) > 0
        core = "--network", "regtest", "--blocks", tmp_path / "regtest/blocks"
        for words in (("export", "--out", tmp_path / "out"), ("verify", "--workers", 1)):
            status, text = btcnode(words[0], *core, *words[1:])
            assert status == 1 and "is pruned: blocks below about" in text, text
            assert len(text.strip().splitlines()) == 1


def test_mainnet_s_first_blocks_are_what_a_node_says_of_them(vectors: Path, tmp_path: Path) -> None:
    """Every block of 600, as DuckDB and Polars read it, and as RPC tells."""
    for name in READERS:
        pytest.importorskip(name)
    (tmp_path / "node").mkdir()
    files = [str(vectors / "nbitcoin" / name) for name in ("blk00000.dat", "blk00001.dat")]
    load = [word for path in files for word in ("--loadblock", path)]
    with NodeProcess(tmp_path / "node", "mainnet", "--connect", "0", *load, listen=False).start() as node:
        wait_until(lambda: node.rpc("getblockcount") == 599, 120, "the blocks")
        out = tmp_path / "out"
        own = "--network", "mainnet", "--datadir", node.datadir, "--rpcport", node.rpc_port
        status, text = btcnode("export", *own, "--out", out, "--with-prevouts", "--partition", 100)
        assert status == 0, text
        told = {height: node.rpc("getblockstats", height) for height in range(1, 600)}
        figures = {height: tuple(stats[name] for name in FIGURES) for height, stats in told.items()}
        for name, read in READERS.items():
            found = read(out)
            assert {height: row for height, row in found.items() if height} == figures, name
        status, text = btcnode("verify", *own, "--ask-node", "--workers", 1)
        assert status == 0 and text.rstrip().endswith("valid"), text


def test_a_full_disk_is_one_line(folder: tuple[Path, MiniChain], tmp_path: Path) -> None:
    words = ("export", "--network", "regtest", "--blocks", folder[0], "--out", tmp_path / "out", "--with-prevouts")
    prefix = ["prlimit", "--fsize=20000"]
    done = subprocess.run(
        [*prefix, *command(*words)], capture_output=True, text=True, timeout=240, check=False, env=environment()
    )
    assert done.returncode == 1 and done.stderr.startswith("Error: cannot write to"), done.stderr
    assert "no room left" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert btcnode(*words)[0] == 0
