#!/usr/bin/env python3
"""The pictures of docs/data.md: its worked examples are carried out as they stand there, on real blocks.

    python scripts/generate/data_pictures.py [--vectors ../shared/vectors] [--docs docs]

Needs DuckDB, Polars, pandas (extra "test"), and the test vectors with real blocks of mainnet.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.simulate.svg_plot import Chart, charts_as_svg
from tests.lib.real_tables import write_mainnet

ROOT = Path(__file__).resolve().parents[2]
SECTION = "## Worked examples"
THOUSAND = 1000


def examples(text: str) -> list[str]:
    """The Python of the section."""
    section = text.partition(SECTION)[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def results(text: str, folder: Path) -> dict[str, Any]:
    """Carry out the examples beside an export ``chain`` in ``folder``; returns their names and values."""
    found: dict[str, Any] = {}
    with contextlib.chdir(folder):
        for code in examples(text):
            exec(compile(code, "docs/data.md", "exec"), found)
    return found


def pictures(found: dict[str, Any]) -> dict[str, str]:
    """SVG by name of file, of what the examples have come to."""
    fees = found["fees"]
    types: dict[str, list[tuple[float, float]]] = {}
    for height, kind, _, share in found["types"].rows():
        types.setdefault(kind, []).append((height / THOUSAND, share))
    return {
        "data_fees.svg": charts_as_svg(
            [
                Chart("Fees of a block, bitcoin", {"fees": [(height / THOUSAND, btc) for height, btc, _ in fees]}),
                Chart("Fees, satoshi per vbyte", {"rate": [(height / THOUSAND, rate) for height, _, rate in fees]}),
            ],
            "height, thousands",
        ),
        "data_types.svg": charts_as_svg([Chart("Spent scripts, % of inputs", types)], "height, thousands"),
        "data_ages.svg": charts_as_svg(
            [
                Chart("Unspent by age, bitcoin", {"by age": list(found["unspent"].items())}),
                Chart("Median age of spent coins, blocks", {"by height": _in_thousands(found["spent_age"])}),
            ],
            "age in blocks, and height in thousands",
        ),
    }


def _in_thousands(series: Any) -> list[tuple[float, float]]:
    return [(height / THOUSAND, value) for height, value in series.items()]


def drawn(vectors: Path, text: str) -> dict[str, str]:
    """The pictures, from the blocks in a folder of test vectors and the text of docs/data.md."""
    with tempfile.TemporaryDirectory() as directory:
        write_mainnet(vectors, Path(directory) / "chain", Path(directory))
        return pictures(results(text, Path(directory)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, default=ROOT.parent / "shared" / "vectors")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    for name, svg in drawn(options.vectors, (options.docs / "data.md").read_text()).items():
        (options.docs / name).write_text(svg)
        print(options.docs / name)


if __name__ == "__main__":
    main()
