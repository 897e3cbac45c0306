"""What the user hands in, as far as it may take long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from threading import current_thread, main_thread
from types import SimpleNamespace
from typing import Any, cast

import pytest

from btcnode.primitives.tx import Tx
from btcnode.services.submissions import FEW_OUTPUTS, Submissions, SubmitError


@pytest.mark.parametrize(("outputs", "beside"), [(1, False), (FEW_OUTPUTS, False), (FEW_OUTPUTS + 1, True)])
def test_many_outputs_are_looked_for_beside_the_loop(outputs: int, beside: bool) -> None:
    asked: list[tuple[int, bool]] = []

    def get_many(outpoints: Sequence[bytes]) -> list[bytes]:
        asked.append((len(outpoints), current_thread() is not main_thread()))
        return [b"coin"]

    checks = SimpleNamespace(coins=SimpleNamespace(get_many=get_many))
    transactions = SimpleNamespace(pool={}, admission=SimpleNamespace(checks=checks))
    submissions = Submissions(cast(Any, transactions), cast(Any, None))
    tx = Tx(2, [bytes(36)], [b""], [0], [bytes(9)] * outputs)
    with pytest.raises(SubmitError, match="already in utxo set"):
        asyncio.run(submissions.submit(tx, None))
    assert asked == [(outputs, beside)]
