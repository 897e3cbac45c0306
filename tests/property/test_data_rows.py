"""The rows of random chains are what RPC says of the blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from btcnode.data.export import ExportForm, export_chain
from btcnode.data.folder import BlockFolder
from btcnode.data.schema import TABLES
from btcnode.data.tasks import TaskRunner
from btcnode.primitives.amounts import COIN
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.rpc.jsonvalue import decode_decimal, encode
from btcnode.testing.templates import signed_tx
from tests.lib.chain_generator import ChainGenerator
from tests.lib.mini_chain import REGTEST
from tests.lib.node_parts import NodeLab, regtest_config

KEY = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
SCRIPTS = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=75).map(lambda data: b"\x6a" + bytes((len(data),)) + data),
    st.binary(min_size=20, max_size=20).map(lambda h: b"\x00\x14" + h),
    st.binary(min_size=2, max_size=40).map(lambda h: b"\x60" + bytes((len(h),)) + h),
    st.sampled_from([
        b"", b"\x51\x02\x4e\x73", b"\x51\x20" + KEY[1:], b"\x21" + KEY + b"\xac", b"\x00" * 253, b"\x00" * 300,
        b"\x51\x21" + KEY + b"\x21" + KEY + b"\x52\xae", b"\x61" * 10_001, b"\xff" * 9_999,
    ]),
)  # fmt: skip


class Plan(NamedTuple):
    """A transaction: how many inputs, each output's part of what they bring (per mille) and script, odd numbers."""

    inputs: int
    outputs: list[tuple[int, bytes]]
    version: int
    lock_time: int
    sequence: int


PLANS = st.builds(
    Plan,
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 200), SCRIPTS), min_size=1, max_size=5),
    st.sampled_from([0, 1, 2, 3, 2**31, 2**32 - 1]),
    st.sampled_from([0, 0, 5, 499_999_999]),
    st.sampled_from([2**32 - 1]) | st.integers(1 << 31, 2**32 - 1),
)
BLOCKS = st.lists(st.lists(PLANS, max_size=5), min_size=1, max_size=3)


def built(generator: ChainGenerator, plan: Plan) -> tuple[Tx, int]:
    """The transaction, and its fee in satoshi."""
    sources = [generator.take() for _ in range(plan.inputs)]
    total = sum(source.value for source in sources)
    txouts = [make_txout(total * part // 1000, script) for part, script in plan.outputs]
    lock_time = plan.lock_time if plan.sequence == 2**32 - 1 or plan.lock_time < 6 else 0
    tx = signed_tx(
        [(source.outpoint, source.txout, source.how) for source in sources],
        txouts,
        version=plan.version,
        lock_time=lock_time,
        sequence=plan.sequence,
    )
    return tx, total - sum(int.from_bytes(txout[:8], "little") for txout in txouts)


def satoshi(amount: Any) -> int:
    """What RPC says as bitcoins."""
    return int(Decimal(amount) * COIN)


def rows_of(out: Path, table: str) -> list[dict[str, Any]]:
    return [row for path in sorted((out / table).iterdir()) for row in pq.read_table(path).to_pylist()]


def check_block(row: dict[str, Any], told: dict[str, Any], stats: dict[str, Any]) -> None:
    """A row of ``blocks``."""
    assert row["hash"].hex() == told["hash"]
    assert (row["prev_hash"].hex(), row["merkle_root"].hex()) == (told["previousblockhash"], told["merkleroot"])
    assert (row["version"], f"{row['bits']:08x}", row["nonce"]) == (told["version"], told["bits"], told["nonce"])
    assert (row["size"], row["weight"], row["tx_count"]) == (told["size"], told["weight"], told["nTx"])
    times = int(row["time"].timestamp()), int(row["median_time"].timestamp())
    assert times == (told["time"], told["mediantime"])
    figures = row["fees"], row["input_count"], row["output_count"], row["subsidy"]
    assert figures == (stats["totalfee"], stats["ins"], stats["outs"], stats["subsidy"])


def check_tx(row: dict[str, Any], told: dict[str, Any]) -> None:
    """A row of ``transactions``."""
    names = (row["txid"].hex(), row["wtxid"].hex(), row["version"], row["lock_time"])
    assert names == (told["txid"], told["hash"], told["version"], told["locktime"])
    assert (row["size"], row["weight"]) == (told["size"], told["weight"])
    assert (row["input_count"], row["output_count"]) == (len(told["vin"]), len(told["vout"]))
    assert row["value_out"] == sum(satoshi(out["value"]) for out in told["vout"])
    assert row["fee"] == (satoshi(told["fee"]) if row["tx"] else None)


def check_input(row: dict[str, Any], told: dict[str, Any]) -> None:
    """A row of ``inputs``."""
    assert (row["sequence"], [item.hex() for item in row["witness"]]) == (
        told["sequence"], told.get("txinwitness", []),
    )  # fmt: skip
    if not row["tx"]:
        assert (row["script_sig"].hex(), row["prev_txid"], row["prev_output"]) == (
            told["coinbase"], bytes(32), 2**32 - 1,
        )  # fmt: skip
        assert {row[name] for name in row if name.startswith("prev_") and name not in ("prev_txid", "prev_output")} == {
            None
        }
        return
    assert (row["prev_txid"].hex(), row["prev_output"]) == (told["txid"], told["vout"])
    coin = told["prevout"]
    assert row["script_sig"].hex() == told["scriptSig"]["hex"]
    assert (row["prev_height"], row["prev_coinbase"]) == (coin["height"], coin["generated"])
    assert row["prev_value"] == satoshi(coin["value"])
    script = coin["scriptPubKey"]
    assert (row["prev_type"], row["prev_script"].hex()) == (script["type"], script["hex"])


def check_output(row: dict[str, Any], told: dict[str, Any]) -> None:
    """A row of ``outputs``."""
    script = told["scriptPubKey"]
    assert (row["output"], row["value"]) == (told["n"], satoshi(told["value"]))
    assert (row["type"], row["script"].hex()) == (script["type"], script["hex"])


def check_tables(out: Path, ask: Callable[..., Any], first: int, last: int) -> None:
    """All rows of some blocks."""
    tables = {table: iter([row for row in rows_of(out, table) if row["height"] >= first]) for table in TABLES}
    for height in range(first, last + 1):
        told = ask("getblock", ask("getblockhash", height), 3)
        check_block(next(tables["blocks"]), told, ask("getblockstats", height))
        for number, tx in enumerate(told["tx"]):
            row = next(tables["transactions"])
            assert (row["height"], row["tx"]) == (height, number)
            check_tx(row, tx)
            for checked, table, name in ((check_input, "inputs", "vin"), (check_output, "outputs", "vout")):
                for place, item in enumerate(tx[name]):
                    row = next(tables[table])
                    assert (row["height"], row["tx"], row[table[:-1]]) == (height, number, place)
                    assert table == "inputs" or row["txid"].hex() == tx["txid"]
                    checked(row, item)
    assert all(next(rows, None) is None for rows in tables.values())


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BLOCKS, st.integers(0, 1000), st.sampled_from([1, 10, 1000]))
def test_rows_are_what_rpc_says(plans: list[list[Plan]], seed: int, partition: int) -> None:
    generator = ChainGenerator(REGTEST, seed)
    with tempfile.TemporaryDirectory() as directory:
        node = NodeLab(regtest_config(Path(directory) / "node"))
        try:

            def ask(method: str, *params: Any) -> Any:
                return decode_decimal(encode(node.do(node.table.call_async(node.table.find(method), list(params)))))

            for raw in generator.spread(64):
                assert ask("submitblock", raw.hex()) is None
            first = generator.height
            for block in plans:
                pairs = [built(generator, plan) for plan in block]
                raw = generator.block([tx for tx, _ in pairs], sum(fee for _, fee in pairs))
                assert ask("submitblock", raw.hex()) is None
            with TaskRunner() as runner:
                form = ExportForm(TABLES, True, partition)
                folder = BlockFolder(node.settings.blocks_dir, REGTEST)
                export_chain(folder, Path(directory) / "out", form, runner=runner)
            check_tables(Path(directory) / "out", ask, first, generator.height)
        finally:
            node.close()
