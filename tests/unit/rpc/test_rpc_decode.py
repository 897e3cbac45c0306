"""What methods make of scripts, descriptors and difficulties: words and numbers as Bitcoin Core writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btcnode.errors import DecodeError
from btcnode.networks.parameters import params_for
from btcnode.rpc.decode import WORDS_TOGETHER, infer_descriptor, script_asm
from btcnode.rpc.descriptors import script_of_descriptor
from btcnode.rpc.lookup import difficulty
from btcnode.rpc.transactions import has_valid_ops
from btcnode.script.solver import match_multisig, script_type

MAIN = params_for("mainnet")
KEY = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
KEY2 = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"


@pytest.mark.parametrize(
    ("bits", "value"),
    [
        (0x1D00FFFF, 1.0),
        (0x207FFFFF, 4.656542373906925e-10),
        (0x1B0404CB, 16307.420938523983),
        (0x170331DB, 88104191118793.16),
    ],
)
def test_difficulty(bits: int, value: float) -> None:
    assert f"{difficulty(bits):.16g}" == f"{value:.16g}"


@pytest.mark.parametrize(
    ("script", "asm", "kind", "descriptor"),
    [
        ("", "", "nonstandard", "raw()#58lrscpx"),
        ("51", "1", "nonstandard", "raw(51)#8lvh9jxk"),
        ("4f", "-1", "nonstandard", None),
        ("6a0474657374", "OP_RETURN 1953719668", "nulldata", None),
        ("6a4c", "OP_RETURN [error]", "nonstandard", None),
        ("51024e73", "1 29518", "anchor", None),
        ("76a914751e76e8199196d454941c45d1b3a323f1433bd688ac",
         "OP_DUP OP_HASH160 751e76e8199196d454941c45d1b3a323f1433bd6 OP_EQUALVERIFY OP_CHECKSIG", "pubkeyhash", None),
        ("a914" + "11" * 20 + "87", "OP_HASH160 " + "11" * 20 + " OP_EQUAL", "scripthash", None),
        ("0014" + "11" * 20, "0 " + "11" * 20, "witness_v0_keyhash", None),
        ("0020" + "11" * 32, "0 " + "11" * 32, "witness_v0_scripthash", None),
        ("0015" + "11" * 21, "0 " + "11" * 21, "nonstandard", None),
        ("5120" + KEY[2:], "1 " + KEY[2:], "witness_v1_taproot", f"rawtr({KEY[2:]})"),
        ("5220" + "11" * 32, "2 " + "11" * 32, "witness_unknown", None),
        ("21" + KEY + "ac", KEY + " OP_CHECKSIG", "pubkey", f"pk({KEY})"),
        ("5121" + KEY + "21" + KEY2 + "52ae", f"1 {KEY} {KEY2} 2 OP_CHECKMULTISIG", "multisig",
         f"multi(1,{KEY},{KEY2})"),
        ("5321" + KEY + "51ae", f"3 {KEY} 1 OP_CHECKMULTISIG", "nonstandard", None),
        ("0500000000807c", "0000000080 OP_SWAP", "nonstandard", None),
        ("ba50ff", "OP_CHECKSIGADD OP_RESERVED OP_INVALIDOPCODE", "nonstandard", None),
    ],
)  # fmt: skip
def test_scripts(script: str, asm: str, kind: str, descriptor: str | None) -> None:
    raw = bytes.fromhex(script)
    assert script_asm(raw) == asm
    assert script_type(raw) == kind
    if descriptor is not None:
        assert infer_descriptor(raw, MAIN).partition("#")[0] == descriptor.partition("#")[0]
    if descriptor is not None and "#" in descriptor:
        assert infer_descriptor(raw, MAIN) == descriptor


def test_sighash_types_are_spelled_out_in_script_sigs_only() -> None:
    sig = bytes.fromhex("3006020101020101")
    push = bytes((len(sig) + 1,)) + sig
    assert script_asm(push + b"\x81", sighash=True) == sig.hex() + "[ALL|ANYONECANPAY]"
    assert script_asm(push + b"\x81") == sig.hex() + "81"
    assert script_asm(push + b"\x04", sighash=True) == sig.hex() + "04"
    assert script_asm(b"\x6a" + push + b"\x01", sighash=True) == "OP_RETURN " + sig.hex() + "01"


@pytest.mark.parametrize("words", [WORDS_TOGETHER - 1, WORDS_TOGETHER, WORDS_TOGETHER + 1, 3 * WORDS_TOGETHER + 7])
def test_a_long_script_is_one_line_of_words(words: int) -> None:
    assert script_asm(b"\x51" * words) == " ".join(["1"] * words)


@given(st.binary(max_size=80))
def test_any_script_can_be_described(script: bytes) -> None:
    script_asm(script, sighash=True)
    script_type(script)
    match_multisig(script)
    text = infer_descriptor(script, MAIN)
    if script and not text.startswith(("multi", "rawtr")):  # raw() is no descriptor, in Core neither
        assert script_of_descriptor(text, MAIN) == script


@pytest.mark.parametrize(
    ("descriptor", "script"),
    [
        ("raw(deadbeef)#89f8spxm", "deadbeef"),
        (f"pk({KEY})", "21" + KEY + "ac"),
        (f"pkh({KEY})", "76a914751e76e8199196d454941c45d1b3a323f1433bd688ac"),
        (f"wpkh({KEY})", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
        (f"sh(wpkh({KEY}))", "a914bcfeb728b584253d5f3f70bcb780e9ef218a68f487"),
        (f"multi(1,{KEY},{KEY2})", "5121" + KEY + "21" + KEY2 + "52ae"),
        ("addr(bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4)", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
        (f"rawtr({KEY[2:]})", "5120" + KEY[2:]),
    ],
)
def test_descriptors(descriptor: str, script: str) -> None:
    assert script_of_descriptor(descriptor, MAIN).hex() == script


@pytest.mark.parametrize(
    "text",
    ["", "raw(0)", "raw(51)#00000000", "raw(51)#1", "addr(x)", "wpkh(00)", f"wsh(wpkh({KEY}))", f"sh(sh(pk({KEY})))",
     f"multi(2,{KEY})", f"multi(x,{KEY})", f"multi(1,{','.join([KEY] * 4)})", "foo(1)", "raw(51", "é"],
)  # fmt: skip
def test_descriptors_that_are_none(text: str) -> None:
    with pytest.raises(DecodeError):
        script_of_descriptor(text, MAIN)


def test_ops_that_exist() -> None:
    assert has_valid_ops(bytes.fromhex("76a914") + bytes(20) + bytes.fromhex("88ac"))
    assert has_valid_ops(b"\x4d\x08\x02" + bytes(520)) and not has_valid_ops(b"\x4d\x09\x02" + bytes(521))
    assert not has_valid_ops(b"\xff")  # no opcode
    assert not has_valid_ops(b"\x02\x01")  # cut off
