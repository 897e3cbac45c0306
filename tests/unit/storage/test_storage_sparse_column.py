from __future__ import annotations

import random
from array import array

from btcnode.storage.sparse_column import CHUNK_ROWS, SparseColumn


def test_against_a_list() -> None:
    rng = random.Random(3)
    size = 6 * CHUNK_ROWS
    column, model = SparseColumn("i", -1), [-1] * size
    for _ in range(2000):
        row = rng.randrange(2 * CHUNK_ROWS, 3 * CHUNK_ROWS) if rng.random() < 0.9 else rng.randrange(size)
        column[row] = model[row] = rng.choice((-1, 0, 1, 2))
    for _ in range(20):
        first = rng.randrange(size - 1500)
        part = array("i", [rng.choice((-1, -1, -1, 5))] * rng.randrange(1500))
        column.put(first, part)
        model[first : first + len(part)] = part
    assert [column[row] for row in range(size)] == model
    assert column.count_unusual() == size - model.count(-1)
    assert list(column.unusual()) == [(row, value) for row, value in enumerate(model) if value >= 0]
    copy = SparseColumn("i", -1)
    copy.put(0, array("i", model))
    assert copy == column
    copy[7] += 1
    assert copy != column


def test_what_is_usual_takes_no_memory() -> None:
    column = SparseColumn("I", 0)
    assert column[10**9] == 0
    column[5] = 0
    column.put(0, array("I", bytes(4 * 3000)))
    assert not column._chunks
    column[5], column[2000] = 1, 1
    assert len(column._chunks) == 2
    column[5] = 0
    column.tidy()
    assert list(column._chunks) == [1] and (column[5], column[2000]) == (0, 1)
