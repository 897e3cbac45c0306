"""``btcnode utreexo verify``: proofs of coins without a node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from btcnode.cli import main as cli
from btcnode.primitives.coin import make_coin
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.utreexo.blocks import OVERWRITTEN_LEAVES
from btcnode.utreexo.coin_proof import CoinProof, ProvenCoin, encode_roots
from btcnode.utreexo.forest import Forest
from btcnode.utreexo.stump import Stump

AFTER, MADE = BlockHash(b"\x01" * 32), BlockHash(b"\x02" * 32)
COINS = tuple(
    ProvenCoin(MADE, bytes([n]) * 32 + bytes(4), make_coin(7, n == 0, 150_000_000 + n, b"\x51" * max(n, 1)))
    for n in range(9)
)


def example(*wanted: int) -> tuple[CoinProof, Stump]:
    forest = Forest(lambda _: None)
    forest.add([coin.leaf() for coin in COINS])
    return CoinProof(AFTER, tuple(COINS[n] for n in wanted), forest.prove(wanted)), forest.stump()


def verify(capsys: pytest.CaptureFixture[str], proof: str, roots: str) -> tuple[int, str]:
    status = cli.run(["utreexo", "verify", proof, "--roots", roots])
    captured = capsys.readouterr()
    return status, (captured.out + captured.err).strip()


def test_a_proof_shows_its_coins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    proof, stump = example(3, 0)
    texts = proof.encode().hex(), encode_roots(AFTER, stump).hex()
    status, shown = verify(capsys, *texts)
    assert status == 0
    assert shown.splitlines() == [
        f"{'03' * 32}:0 1.50000003 BTC, confirmed at height 7, script 515151",
        f"{'00' * 32}:0 1.50000000 BTC, mined at height 7, script 51",
        f"unspent after block {to_display(AFTER)}, by roots of 9 leaves",
    ]
    for name, text in zip(("proof", "roots"), texts, strict=True):
        (tmp_path / name).write_text(f'"{text}"\n')
    assert verify(capsys, str(tmp_path / "proof"), str(tmp_path / "roots")) == (0, shown)


def test_what_proves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    proof, stump = example(3)
    good, roots = proof.encode().hex(), encode_roots(AFTER, stump).hex()
    bent = CoinProof(AFTER, (COINS[4],), proof.proof).encode().hex()
    none = CoinProof(AFTER, (), example()[0].proof).encode().hex()
    (tmp_path / "other").write_bytes(b"\xff\xfe")
    for wrong, why in (
        ((bent, roots), "the proof does not lead to the roots"),
        ((none, roots), "the proof is about no coin"),
        ((good, encode_roots(MADE, stump).hex()), "The proof is about block"),
        ((good, encode_roots(AFTER, Stump()).hex()), "lies outside of the forest"),
        ((good[:-2], roots), "That is no proof of coins or no roots: a Utreexo proof ends before its last hash"),
        ((good + "00", roots), "bytes behind the proof of coins"),
        ((good, roots[:-2]), "That is no proof of coins or no roots"),
        ((roots, good), "this is no proof of coins"),
        ((str(tmp_path / "missing"), roots), "No such file or directory, and it is no hex"),
        ((str(tmp_path / "other"), roots), "has no hex in it"),
    ):
        status, shown = verify(capsys, *wrong)
        assert (status, shown.count("\n")) == (1, 0)
        assert shown.startswith("Error: ") and why in shown


def test_an_overwritten_coinbase_is_no_coin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proof, stump = example(3)
    monkeypatch.setattr("btcnode.utreexo.coin_proof.OVERWRITTEN_LEAVES", OVERWRITTEN_LEAVES | {COINS[3].leaf()})
    _, shown = verify(capsys, proof.encode().hex(), encode_roots(AFTER, stump).hex())
    assert "nobody can spend it" in shown


def test_the_whole_answer_of_a_node_will_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    proof, stump = example(3)
    answers = tmp_path / "proof.json", tmp_path / "roots.json"
    for path, data in zip(answers, (proof.encode(), encode_roots(AFTER, stump)), strict=True):
        path.write_text(json.dumps({"height": 5, "hex": data.hex()}, indent=2))
    status, shown = verify(capsys, *map(str, answers))
    assert status == 0 and "unspent after block" in shown
    for text, problem in (
        ('{"height": 5}', 'has an object without "hex"'),
        ('{"hex": 5}', 'has an object without "hex"'),
        ('{"hex": "zz"}', "has no hex in it"),
        ("{", "has no hex in it"),
    ):
        answers[0].write_text(text)
        status, shown = verify(capsys, *map(str, answers))
        assert status == 1 and problem in shown and "Traceback" not in shown
