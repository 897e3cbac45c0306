from __future__ import annotations

import pytest

from btcnode.errors import Fault, RuleViolation
from tests.lib.bad_blocks import BAD_BLOCKS, BLOCKS
from tests.lib.mini_chain import MiniChain

FAULTS = {
    "high-hash": Fault.INVALID_HEADER,
    "bad-diffbits": Fault.INVALID_HEADER,
    "time-too-old": Fault.INVALID_HEADER,
    "time-too-new": Fault.TIME_FUTURE,
    "bad-version(0x00000003)": Fault.INVALID_HEADER,
    "bad-version(0x80000000)": Fault.INVALID_HEADER,
    "bad-txnmrklroot": Fault.MUTATED,
    "bad-txns-duplicate": Fault.MUTATED,
    "unexpected-witness": Fault.MUTATED,
    "bad-witness-nonce-size": Fault.MUTATED,
    "bad-witness-merkle-match": Fault.MUTATED,
}


@pytest.fixture(scope="module")
def chain() -> MiniChain:
    return MiniChain(blocks=BLOCKS)


@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_reject_reason(chain: MiniChain, name: str) -> None:
    code, build = BAD_BLOCKS[name]
    now = chain.tree.time(chain.tip) + 7200
    with pytest.raises(RuleViolation) as caught:
        chain.check(build(chain), now)
    assert caught.value.code == code
    assert caught.value.fault is FAULTS.get(code, Fault.CONSENSUS)
    assert chain.judge(chain.template().build(), now) == "ok"
