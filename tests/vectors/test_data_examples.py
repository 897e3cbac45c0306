"""The worked examples of docs/data.md, carried out as they stand there: what they come to, and the pictures of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.generate.data_pictures import drawn, examples, results
from tests.lib.real_tables import RAITO, WITHOUT_AGES, as_source, first_blocks, mainnet_blocks, write_mainnet
from tests.vectors.test_data_tables import told_by_rpc

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(autouse=True)
def readers() -> None:
    for name in ("duckdb", "polars", "pandas"):
        pytest.importorskip(name)


def test_examples_come_to_what_the_blocks_say(vectors: Path, tmp_path: Path) -> None:
    write_mainnet(vectors, tmp_path / "chain", tmp_path)
    text = (DOCS / "data.md").read_text()
    assert len(examples(text)) == 3
    found = results(text, tmp_path)
    sources = {
        block.height: as_source(block)
        for block in mainnet_blocks(vectors)
        if block.height >= 600 and block.height not in WITHOUT_AGES
    }
    assert len(sources) == 17 and len(RAITO) == 16
    fees: dict[int, list[int]] = {}
    for height, source in sources.items():
        fees.setdefault(height // 1000 * 1000, []).append(told_by_rpc(source)[0])
    assert [(height, round(btc * 10**8)) for height, btc, _ in found["fees"] if height] == [
        (height, round(sum(some) / len(some))) for height, some in sorted(fees.items())
    ]
    assert {height for height, _, _, _ in found["types"].rows() if height >= 600} == {
        height for height, source in sources.items() if source.block.n_tx > 1
    }
    counted = dict.fromkeys(sources, 0)
    for height, _, inputs, _ in found["types"].rows():
        if height in counted:
            counted[height] += inputs
    assert counted == {height: len(source.block.in_pos) - 1 for height, source in sources.items()}
    coins = first_blocks(vectors, tmp_path / "again")
    assert round(sum(found["unspent"]) * 10**8) == sum(int.from_bytes(coin[4:12], "little") for coin in coins.values())


def test_pictures_are_those_of_the_examples(vectors: Path) -> None:
    for name, svg in drawn(vectors, (DOCS / "data.md").read_text()).items():
        assert (DOCS / name).read_text() == svg, f"{name} is of other examples: run scripts/generate/data_pictures.py"
