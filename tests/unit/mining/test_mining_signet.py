"""Blocks of signets: solved with the keys of the challenge, left alone where anybody may make them."""

from __future__ import annotations

import pytest

from btcnode.chain.header_tree import HeaderTree
from btcnode.consensus.blocks import check_block
from btcnode.consensus.deployments import VersionBits
from btcnode.consensus.signet import check_signet_solution
from btcnode.descriptors.provider import Secret, SigningProvider
from btcnode.mining.assembler import Candidate, assemble
from btcnode.mining.signet import solve_challenge, with_solution
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import NULL_OUTPOINT, Tx

NOW = 1_700_000_000
KEYS = [Secret(bytes([n]) * 32) for n in (1, 2, 3)]
PUBKEYS = [key.pubkey for key in KEYS]
SPEND = Tx(2, [b"\x11" * 36], [b""], [0], [(1000).to_bytes(8, "little") + b"\x01\x51"], [[b"x"]])
MULTISIG = b"\x52" + b"".join(b"\x21" + pubkey for pubkey in PUBKEYS) + b"\x53\xae"


def provider(*keys: Secret) -> SigningProvider:
    found = SigningProvider()
    for key in keys:
        found.add_pubkey(key.pubkey)
        found.add_secret(key)
    return found


def draft(params: NetworkParams) -> Candidate:
    tree = HeaderTree(params)
    return assemble(tree, 0, params, VersionBits(params, tree), NOW, b"\x51", [SPEND])


@pytest.mark.parametrize(
    ("challenge", "signers"),
    [
        (b"\x21" + PUBKEYS[0] + b"\xac", 1),
        (b"\x76\xa9\x14" + hash160(PUBKEYS[0]) + b"\x88\xac", 1),
        (b"\x00\x14" + hash160(PUBKEYS[0]), 1),
        (MULTISIG, 2),
    ],
    ids=["p2pk", "p2pkh", "p2wpkh", "multisig"],
)
def test_the_keys_of_the_challenge_make_a_solution(challenge: bytes, signers: int) -> None:
    params = params_for("signet", signet_challenge=challenge)
    candidate = draft(params)
    assert solve_challenge(candidate, params, provider(*KEYS[: signers - 1])) is None
    solved = solve_challenge(candidate, params, provider(*KEYS[:signers]))
    assert solved is not None
    block = parse_block(solved.with_header(solved.header))
    check_block(block, params, check_pow=False)
    assert check_signet_solution(block, params)
    assert block.n_tx == 2
    # the solution holds for any nonce, and for nothing else in the header
    nonce = bytearray(solved.header)
    nonce[76] ^= 1
    assert check_signet_solution(parse_block(solved.with_header(bytes(nonce))), params)
    nonce[68] ^= 1
    assert not check_signet_solution(parse_block(solved.with_header(bytes(nonce))), params)


def test_a_challenge_that_anybody_meets_needs_no_solution() -> None:
    params = params_for("signet", signet_challenge=b"\x51")
    candidate = draft(params)
    assert solve_challenge(candidate, params, provider()) is candidate
    assert solve_challenge(candidate, params, None) is candidate
    assert solve_challenge(candidate, params_for("regtest"), provider()) is candidate


def test_the_public_signet_is_not_for_everybody() -> None:
    params = params_for("signet")
    assert solve_challenge(draft(params), params, provider(*KEYS)) is None
    assert solve_challenge(draft(params), params, None) is None


def test_without_a_commitment_there_is_no_place_for_a_solution() -> None:
    params = params_for("regtest", activation_overrides={"segwit": 100})
    made = draft(params)
    plain = Tx(2, [NULL_OUTPOINT], made.txs[0].script_sigs, [0], made.txs[0].txouts[:1])
    candidate = Candidate(made.header, (plain,))
    with pytest.raises(ValueError, match="commitment"):
        with_solution(candidate, b"\x00\x00")
    signet = params_for("signet", signet_challenge=b"\x00")
    assert solve_challenge(candidate, signet, provider(*KEYS)) is None
