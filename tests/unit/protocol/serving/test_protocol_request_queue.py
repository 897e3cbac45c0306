from __future__ import annotations

from collections import deque
from random import Random

import pytest

from btcnode.protocol.serving.request_queue import COMPACT_ABOVE, RequestQueue
from btcnode.wire.messages import GetData, InvItem


def test_behaves_like_a_deque() -> None:
    rng = Random(1)
    queue, model = RequestQueue(), deque[InvItem]()
    for _ in range(3000):
        if rng.random() < 0.1:
            items = [InvItem(rng.getrandbits(32), rng.randbytes(32)) for _ in range(rng.randrange(60))]
            queue.extend(GetData(items).packed)
            model.extend(items)
        elif model:
            assert queue.popleft() == model.popleft()
        assert len(queue) == len(model)
        assert bool(queue) is bool(model)
    while model:
        assert queue.popleft() == model.popleft()
    with pytest.raises(IndexError):
        queue.popleft()


def test_takes_36_bytes_for_each_request_and_gives_them_back() -> None:
    queue = RequestQueue()
    queue.extend(GetData(InvItem(1, bytes(32)) for _ in range(50_000)).packed)
    assert queue._data.__sizeof__() < 50_000 * 36 * 1.2
    for _ in range(49_000):
        queue.popleft()
    assert queue._data.__sizeof__() < 1000 * 36 + 2 * COMPACT_ABOVE
