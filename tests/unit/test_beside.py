"""What becomes of the results of scripts/bench/beside.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.bench.beside import BEGIN, END, Row, main, put_into, read, record_of, rows_of, table

ROOT = Path(__file__).resolve().parents[2]
RATE, TIME = ("getblockcount", "/s"), ("start", "s")


def test_ratios_are_above_one_where_we_are_faster() -> None:
    ours = [{RATE: 300.0, TIME: 0.2}, {RATE: 100.0, TIME: 0.4}, {RATE: 200.0, TIME: 0.1}]
    theirs = [{RATE: 400.0, TIME: 0.1}]
    rows = rows_of(ours, theirs)
    assert rows == [Row(*RATE, 200.0, 400.0), Row(*TIME, 0.2, 0.1)]
    assert [row.ratio for row in rows] == [0.5, 0.5]


def test_a_page_gets_the_table_between_its_marks(tmp_path: Path) -> None:
    record = record_of([Row(*RATE, 12345.0, 10000.0), Row(*TIME, 0.25, 0.5)], 3)
    page, kept = tmp_path / "page.md", tmp_path / "kept.json"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    kept.write_text(json.dumps(record))
    put_into(page, read(kept))
    put_into(page, read(kept))  # what stands there is replaced
    text = page.read_text()
    assert text.startswith(f"above\n{BEGIN}\n") and text.endswith(f"\n{END}\nbelow\n")
    assert text.count("| getblockcount | /s | 12,345 | 10,000 | 1.23 |") == 1
    assert "| start | s | 0.25 | 0.5 | 2.00 |" in text
    assert "medians of 3 runs" in text and "old" not in text
    page.write_text(f"{END}{BEGIN}")
    with pytest.raises(ValueError, match="both of"):
        put_into(page, record)


def test_a_page_without_room_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    monkeypatch.setattr("sys.argv", ["beside.py", "--bitcoind", "bitcoind", "--page", str(page)])
    with pytest.raises(SystemExit):
        main()
    assert "no place for the table" in capsys.readouterr().err


def test_what_is_kept_can_be_read_and_the_page_has_room() -> None:
    kept = sorted((ROOT / "docs" / "beside").glob("*.json"))
    assert kept
    for path in kept:
        record = read(path)
        assert len(table(record).splitlines()) == 2 + len(record["rows"])
        for name, unit, ours, theirs, ratio in record["rows"]:
            assert ratio == pytest.approx(Row(name, unit, ours, theirs).ratio), name
    text = (ROOT / "docs" / "performance.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
