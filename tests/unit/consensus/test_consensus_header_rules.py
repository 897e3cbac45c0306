from __future__ import annotations

from dataclasses import replace

import pytest

from btcnode.consensus.headers import check_header, contextual_check_header, minimum_version
from btcnode.errors import Fault, RuleViolation
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.header import Header
from btcnode.testing.blocks import grind
from tests.lib.ancestry import ListAncestry

REGTEST = params_for("regtest")
MAINNET = params_for("mainnet")


def chain(blocks: int = 20) -> ListAncestry:
    tree = ListAncestry()
    tree.append(REGTEST.genesis_block)
    tree.extend(blocks)
    return tree


def child(tree: ListAncestry, **changes: int) -> bytes:
    tip = len(tree) - 1
    fields = {"version": 4, "time": tree.time(tip) + 600, "bits": tree.bits(tip), "nonce": 0, **changes}
    header = Header(fields["version"], tree.hash(tip), bytes(32), fields["time"], fields["bits"], fields["nonce"])
    return header.serialize()


def judge(raw: bytes, tree: ListAncestry, now: int = 2**40, params: NetworkParams = REGTEST) -> RuleViolation | None:
    try:
        contextual_check_header(raw, tree, len(tree) - 1, now, params)
    except RuleViolation as violation:
        return violation
    return None


def test_high_hash() -> None:
    raw = child(chain())
    assert check_header(grind(raw), REGTEST) == Header.parse(grind(raw)).hash
    with pytest.raises(RuleViolation) as caught:
        check_header(grind(raw, valid=False), REGTEST)
    assert (caught.value.code, caught.value.debug) == ("high-hash", "proof of work failed")
    assert caught.value.fault is Fault.INVALID_HEADER
    with pytest.raises(RuleViolation):
        check_header(grind(raw), MAINNET)


def test_bad_diffbits_comes_first() -> None:
    tree = chain()
    violation = judge(child(tree, bits=0x207FFFFE, time=0, version=0), tree)
    assert violation is not None
    assert (violation.code, violation.fault) == ("bad-diffbits", Fault.INVALID_HEADER)


def test_time_too_old() -> None:
    tree = chain()
    mtp = tree.median_time_past(20)
    violation = judge(child(tree, time=mtp, version=0), tree)
    assert violation is not None
    assert (violation.code, violation.fault) == ("time-too-old", Fault.INVALID_HEADER)
    assert judge(child(tree, time=mtp + 1), tree) is None


def test_time_too_new_is_not_for_ever() -> None:
    tree = chain()
    time = tree.time(20) + 600
    assert judge(child(tree, time=time), tree, now=time - 7200) is None
    violation = judge(child(tree, time=time, version=0), tree, now=time - 7201)
    assert violation is not None
    assert (violation.code, violation.fault) == ("time-too-new", Fault.TIME_FUTURE)


def test_timewarp_is_refused_where_bip94_holds() -> None:
    """attacks.md: timestamps at the retarget's edge."""
    bip94 = replace(REGTEST, enforce_bip94=True)
    tree = ListAncestry()
    tree.append(REGTEST.genesis_block)
    tree.extend(142)
    last = tree.time(142) + 10_000
    tree.append(child(tree, time=last))
    assert (tree.height(143) + 1) % bip94.difficulty_adjustment_interval == 0
    early = child(tree, time=last - 601)
    violation = judge(early, tree, params=bip94)
    assert violation is not None
    assert (violation.code, violation.fault) == ("time-timewarp-attack", Fault.INVALID_HEADER)
    assert judge(child(tree, time=last - 600), tree, params=bip94) is None
    assert judge(early, tree, params=REGTEST) is None
    tree.append(child(tree, time=last - 600))
    assert judge(child(tree, time=last - 1800), tree, params=bip94) is None  # not a period's first block


@pytest.mark.parametrize(
    ("height", "version", "code"),
    [
        (227_930, 1, None),
        (227_931, 1, "bad-version(0x00000001)"),
        (227_931, 2, None),
        (363_724, 2, None),
        (363_725, 2, "bad-version(0x00000002)"),
        (388_380, 3, None),
        (388_381, 3, "bad-version(0x00000003)"),
        (388_381, 4, None),
        (388_381, -1, "bad-version(0xffffffff)"),
        (227_930, -(2**31), None),
    ],
)
def test_version_floors(height: int, version: int, code: str | None) -> None:
    params = replace(MAINNET, no_retargeting=True)
    tree = ListAncestry(first_height=height - 1)
    tree.append(child(chain(), bits=0x1D00FFFF))
    violation = judge(child(tree, version=version), tree, params=params)
    assert (violation and violation.code) == code
    if violation is not None:
        assert violation.fault is Fault.INVALID_HEADER
        assert violation.debug == f"rejected nVersion={code[12:22]} block" if code else False
    assert (version < minimum_version(height, params)) is (code is not None)
