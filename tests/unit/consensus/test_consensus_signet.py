from __future__ import annotations

import pytest

from btcnode.consensus.blocks import check_block
from btcnode.consensus.signet import SIGNET_HEADER, check_signet_solution, extract_solution, signet_transactions
from btcnode.errors import RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.script.scriptparse import push_data
from btcnode.testing.blocks import COMMITMENT_PREFIX, assemble

COMMITMENT = COMMITMENT_PREFIX + bytes(32)
TRUE = params_for("signet", signet_challenge=b"\x51")


def block_with(script: bytes | None, *, after: bytes | None = None) -> ParsedBlock:
    txouts = [make_txout(0, part) for part in (b"\x51", script, after) if part is not None]
    tx = Tx(2, [NULL_OUTPOINT], [b"\x51\x00"], [0], txouts)
    header = b"\x04\0\0\0" + bytes(32) + merkle_root([tx.txid])[0] + b"time" + bytes(8)
    return parse_block(assemble(header, [tx]))


@pytest.mark.parametrize(
    ("script", "rest", "solution"),
    [
        (COMMITMENT, COMMITMENT, None),
        (COMMITMENT + push_data(SIGNET_HEADER + b"s"), COMMITMENT + push_data(SIGNET_HEADER), b"s"),
        # the header alone is no solution, and only the first one counts
        (COMMITMENT + push_data(SIGNET_HEADER), COMMITMENT + push_data(SIGNET_HEADER), None),
        (
            COMMITMENT + push_data(SIGNET_HEADER + b"a") + push_data(SIGNET_HEADER + b"b"),
            COMMITMENT + push_data(SIGNET_HEADER) + push_data(SIGNET_HEADER + b"b"),
            b"a",
        ),
        # pushes are rewritten in their shortest form, opcodes stay, what cannot be decoded is dropped
        (
            COMMITMENT + b"\x4c\x05" + SIGNET_HEADER + b"s" + b"\x00\x51\x4c\x00\x4c\x01x\x05ab",
            COMMITMENT + b"\x04" + SIGNET_HEADER + b"\x00\x51\x4c\x01x",
            b"s",
        ),
    ],
)
def test_extraction(script: bytes, rest: bytes, solution: bytes | None) -> None:
    assert extract_solution(script) == (rest, solution)


def test_trivial_challenge_needs_no_solution() -> None:
    assert check_signet_solution(block_with(COMMITMENT), TRUE)
    assert not check_signet_solution(block_with(COMMITMENT), params_for("signet", signet_challenge=b"\x00"))


def test_commitment_is_required() -> None:
    assert not check_signet_solution(block_with(None), TRUE)
    assert not check_signet_solution(parse_block(bytes(80) + b"\0"), TRUE)


def test_genesis_needs_none() -> None:
    params = params_for("signet")
    check_block(parse_block(params.genesis_block), params)


@pytest.mark.parametrize(
    ("solution", "good"),
    [
        (b"\x00\x00", True),
        (b"\x01\x51\x00", True),
        (b"\x00\x00\x00", False),  # left over
        (b"\x00", False),
        (b"\x05\x51", False),
        (b"\x00\x01", False),
        (b"\x00\xfd\x01\x00\x00", False),  # not canonical
        (b"\x00\x01\x01x", False),  # a witness that the challenge does not use
    ],
)
def test_form_of_the_solution(solution: bytes, good: bool) -> None:
    script = COMMITMENT + push_data(SIGNET_HEADER + solution)
    assert check_signet_solution(block_with(script), TRUE) is good


def test_script_sig_is_run() -> None:
    params = params_for("signet", signet_challenge=b"\x52\x87")  # 2 EQUAL
    for script_sig, good in ((b"\x52", True), (b"\x53", False), (b"", False)):
        solution = bytes((len(script_sig),)) + script_sig + b"\x00"
        block = block_with(COMMITMENT + push_data(SIGNET_HEADER + solution))
        assert check_signet_solution(block, params) is good


def test_virtual_transactions_commit_to_the_block_without_its_solution() -> None:
    bare = signet_transactions(block_with(COMMITMENT + push_data(SIGNET_HEADER)), b"\x51")
    one = signet_transactions(block_with(COMMITMENT + push_data(SIGNET_HEADER + b"\x01\x51\x00")), b"\x51")
    two = signet_transactions(block_with(COMMITMENT + push_data(SIGNET_HEADER + b"\x01\x52\x00")), b"\x51")
    assert bare and one and two
    assert bare.to_spend.raw == one.to_spend.raw == two.to_spend.raw
    assert len({bare.to_sign.raw, one.to_sign.raw, two.to_sign.raw}) == 3
    assert one.to_spend.script_sigs[0][:2] == b"\x00\x48"
    assert one.to_spend.script_sigs[0].endswith(b"time")
    assert one.to_spend.txouts == [make_txout(0, b"\x51")]
    assert one.to_sign.prevouts == [one.to_spend.txid + bytes(4)]
    assert (one.to_sign.version, one.to_sign.lock_time, one.to_sign.sequences) == (0, 0, [0])
    assert one.to_sign.txouts == [make_txout(0, b"\x6a")]


def test_the_last_commitment_holds_the_solution() -> None:
    solved = COMMITMENT + push_data(SIGNET_HEADER + b"\x00\x00\x00")  # malformed
    assert check_signet_solution(block_with(solved, after=COMMITMENT), TRUE)
    assert not check_signet_solution(block_with(COMMITMENT, after=solved), TRUE)


def test_other_networks_have_no_challenge() -> None:
    with pytest.raises(ValueError, match="no signet challenge"):
        check_signet_solution(block_with(COMMITMENT), params_for("regtest"))


def test_reject_reason() -> None:
    raw = params_for("signet").genesis_block
    loose = params_for("signet", signet_challenge=b"\x00")
    check_block(parse_block(raw), loose)
    block = parse_block(raw)
    other = parse_block(raw)
    other.hash = type(block.hash)(bytes(32))  # any other block without a commitment
    with pytest.raises(RuleViolation) as caught:
        check_block(other, loose)
    assert caught.value.code == "bad-signet-blksig"
    assert caught.value.debug == "signet block signature validation failure"
