"""Which memory is asked for in large pages, and that whatever becomes of it does no harm."""

from __future__ import annotations

from pathlib import Path

from btcnode.simulate.large_pages import PAGE, anonymous_regions, take_large_pages

MAPS = """\
00400000-00401000 r-xp 00000000 fd:00 1234 /usr/bin/python3
00e00000-01900000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f0000700000 rw-p 00000000 00:00 0
7f0001000000-7f0001300000 r--p 00000000 00:00 0
7f0002000000-7f0002600000 rw-p 00000000 fd:00 99 /usr/lib/a database
7f0003000000-7f0003100000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00800000 rw-p 00000000 00:00 0 [stack]
"""


def test_whole_pages_of_memory_without_a_file() -> None:
    found = list(anonymous_regions(MAPS.splitlines()))
    assert found == [(0xE00000, 0x1800000), (0x7F0000200000, 0x7F0000600000)]
    assert all(begin % PAGE == end % PAGE == 0 for begin, end in found)


def test_objects_stay_as_they_are(tmp_path: Path) -> None:
    objects = [[n] for n in range(300_000)]
    assert take_large_pages() >= 0
    assert [n for (n,) in objects] == list(range(300_000))
    assert take_large_pages(tmp_path / "nothing") == 0, "a system without the table"
    wrong = tmp_path / "maps"
    wrong.write_text("10000000000-10000200000 rw-p 00000000 00:00 0\n")
    assert take_large_pages(wrong) == 0, "memory that is not there"
