"""How large signed inputs become: as told before, and as they are."""

from __future__ import annotations

import pytest

from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import Secret, SigningProvider
from btcnode.descriptors.sign_transaction import sign_transaction
from btcnode.descriptors.sizes import input_weight, satisfaction
from btcnode.networks.parameters import params_for
from btcnode.primitives.addresses import secret_encode
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx

PARAMS = params_for("regtest")
KEYS = [secret_encode(bytes([n]) * 32, True, PARAMS) for n in range(1, 4)]
OLD_KEY = secret_encode(bytes([9]) * 32, False, PARAMS)
A, B, C = KEYS
SOLVABLE = (
    f"pk({A})", f"pkh({A})", f"pkh({OLD_KEY})", f"wpkh({A})", f"sh(wpkh({A}))", f"tr({A})", f"multi(2,{A},{B},{C})",
    f"sh(multi(2,{A},{B},{C}))", f"wsh(multi(2,{A},{B},{C}))", f"sh(wsh(multi(1,{A},{B})))", f"wsh(pk({A}))",
    f"wsh(and_v(v:pk({A}),pk({B})))", f"wsh(or_d(pk({A}),and_v(v:pkh({B}),older(1))))",
    f"wsh(thresh(2,pk({A}),s:pk({B}),sln:older(5)))", f"wsh(andor(pk({A}),pk({B}),pkh({C})))",
    f"wsh(or_i(pk({A}),pkh({B})))", f"wsh(or_b(pk({A}),s:pk({B})))", f"sh(sortedmulti(1,{A},{B}))",
)  # fmt: skip


@pytest.mark.parametrize("text", SOLVABLE)
def test_no_signed_input_is_larger_than_told(text: str) -> None:
    secrets = SigningProvider()
    (descriptor,) = parse_descriptor(text, PARAMS, secrets)
    provider = SigningProvider()
    scripts = descriptor.expand(0, secrets, provider)
    assert scripts is not None
    descriptor.add_secrets(0, secrets, provider)
    for n in range(1, 4):
        provider.add_secret(Secret(bytes([n]) * 32))
    found = satisfaction(descriptor)
    assert found is not None
    sizes = []
    for amount in range(8):  # signatures differ in length
        outpoint = bytes(32) + amount.to_bytes(4, "little")
        txout = make_txout(100_000, scripts[0])
        tx = Tx(2, [outpoint], [b""], [0xFFFFFFFD], [make_txout(amount, b"\x51")])
        signed, errors = sign_transaction(tx, provider, {outpoint: txout}, 0)
        assert not errors
        sizes.append(signed.weight - (4 + 4 + 1 + 1 + 10) * 4 - (2 if signed.has_witness else 0))
    told = input_weight(found, tx_is_segwit=found.is_segwit)
    assert max(sizes) <= told
    # what is told is for the worst of several ways to satisfy, and without luck
    assert told - max(sizes) <= 4 * 4 or "or" in text or "thresh" in text


def test_high_signatures_are_a_byte_longer() -> None:
    (descriptor,) = parse_descriptor(f"wpkh({A})", PARAMS, SigningProvider())
    low, high = satisfaction(descriptor), satisfaction(descriptor, low_r=False)
    assert low is not None and high is not None
    assert (low.weight, high.weight, low.elements) == (1 + 71 + 1 + 33, 1 + 72 + 1 + 33, 2)
    assert input_weight(low) == 41 * 4 + 1 + 106


def test_of_a_legacy_input_the_witness_is_counted_only_beside_others() -> None:
    (descriptor,) = parse_descriptor(f"pkh({A})", PARAMS, SigningProvider())
    found = satisfaction(descriptor)
    assert found is not None and not found.is_segwit
    assert input_weight(found) == input_weight(found, tx_is_segwit=False) + 1 == 148 * 4 - 4 + 1


@pytest.mark.parametrize("text", ["addr(bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080)", "raw(51)"])
def test_of_what_nobody_knows_how_to_spend_there_is_no_size(text: str) -> None:
    (descriptor,) = parse_descriptor(text, PARAMS, SigningProvider())
    assert satisfaction(descriptor) is None
