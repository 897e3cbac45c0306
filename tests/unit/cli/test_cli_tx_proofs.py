"""``btcnode txoutproof verify``: proofs of transactions without a node."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from btcnode.cli import main as cli
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import sha256d, to_display
from btcnode.primitives.merkle_proof import build_proof
from btcnode.wire.messages import MerkleBlock
from tests.lib.chain_generator import ChainGenerator

PARAMS = params_for("regtest")
_generator = ChainGenerator(PARAMS, seed=5)
BLOCKS = [*_generator.spread(30), *(_generator.busy(7) for _ in range(3))]
RAW = BLOCKS[-3]
BLOCK = parse_block(RAW)
HEADERS = [raw[:80] for raw in BLOCKS]
NAME = to_display(BLOCK.hash)
ROOT = to_display(RAW[36:68])


def proof_of(*wanted: int, raw: bytes = RAW) -> MerkleBlock:
    block = parse_block(raw)
    hashes, flags = build_proof(block.txids, {block.txids[n] for n in wanted})
    return MerkleBlock(raw[:80], block.n_tx, tuple(hashes), flags)


def with_root(proof: MerkleBlock, root: bytes) -> MerkleBlock:
    return MerkleBlock(proof.header[:36] + root + proof.header[68:], proof.total_txs, proof.hashes, proof.flags)


def verify(capsys: pytest.CaptureFixture[str], proof: str, *words: str, network: str = "regtest") -> tuple[int, str]:
    status = cli.run(["txoutproof", "verify", proof, "--network", network, *words])
    captured = capsys.readouterr()
    return status, (captured.out + captured.err).strip()


@pytest.mark.parametrize("known", [("--block", NAME), ("--root", ROOT), ("--block", NAME, "--transactions", "8")])
def test_a_proof_shows_its_transactions(capsys: pytest.CaptureFixture[str], known: tuple[str, ...]) -> None:
    status, shown = verify(capsys, proof_of(2, 5).encode().hex(), *known)
    doubt = "" if "--transactions" in known else " as the proof says"
    assert status == 0
    assert shown.splitlines() == [
        f"{to_display(BLOCK.txids[2])} is transaction 2 of the block",
        f"{to_display(BLOCK.txids[5])} is transaction 5 of the block",
        f"block {NAME} of 8 transactions{doubt}, time {int.from_bytes(RAW[68:72], 'little')}",
    ]


def test_headers_tell_how_deep_the_block_lies(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    headers, proof = tmp_path / "headers", tmp_path / "proof"
    headers.write_text(b"".join(HEADERS).hex() + "\n")
    proof.write_text(f'"{proof_of(1).encode().hex()}"\n')
    status, shown = verify(capsys, str(proof), "--headers", str(headers))
    assert status == 0
    assert shown.splitlines()[-1] == "2 headers on top of it; it and they took 2^2.6 hashes"


def test_a_block_of_one_transaction(capsys: pytest.CaptureFixture[str]) -> None:
    raw = next(raw for raw in BLOCKS if parse_block(raw).n_tx == 1)
    status, shown = verify(capsys, proof_of(0, raw=raw).encode().hex(), "--headers", raw[:80].hex())
    assert (status, shown.splitlines()[-1]) == (0, "0 headers on top of it; it and they took 2^1.0 hashes")


def test_what_proves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good, known = proof_of(2), ("--block", NAME)
    text = good.encode().hex()
    stranger = MerkleBlock(good.header, good.total_txs, (sha256d(b"forged"), *good.hashes[1:]), good.flags)
    more = MerkleBlock(good.header, 10**9, good.hashes, good.flags)
    spare = MerkleBlock(good.header, good.total_txs, (*good.hashes, bytes(32)), good.flags)
    nonce = next(n for n in range(99) if sha256d(good.header[:76] + n.to_bytes(4, "little"))[31] > 0x7F)
    unworked = MerkleBlock(good.header[:76] + nonce.to_bytes(4, "little"), good.total_txs, good.hashes, good.flags)
    (tmp_path / "binary").write_bytes(good.encode())
    for proof, words, why in (
        (stranger.encode().hex(), known, "does not lead to the merkle root of its header"),
        (with_root(good, bytes(32)).encode().hex(), known, "does not lead to the merkle root of its header"),
        (proof_of().encode().hex(), known, "about no transaction"),
        (unworked.encode().hex(), known, "not the work in the proof's header"),
        (more.encode().hex(), known, "the sizes of the proof make no sense"),
        (spare.encode().hex(), known, "parts that nothing needs"),
        (text[:-2], known, "That is no proof of transactions"),
        (text[:100], known, "That is no proof of transactions"),
        (text + "00", known, "there are bytes behind it"),
        ("", known, "That is no proof of transactions"),
        ("zz", known, "No such file or directory, and it is no hex"),
        (str(tmp_path / "binary"), known, "has no hex in it"),
        ("/dev/zero", known, "Cannot read /dev/zero"),
        (text, (), "What is known of the block?"),
        (text, ("--block", "ab"), "--block: hash must be 64 hexadecimal digits"),
        (text, ("--block", to_display(bytes(32))), f"The proof is about block {NAME}"),
        (text, ("--root", NAME), "another merkle root"),
        (text, (*known, "--transactions", "7"), "a block of 8 transactions, not 7"),
        (text, ("--headers", HEADERS[-1].hex()), "is none of --headers"),
        (text, ("--headers", HEADERS[-3].hex() + HEADERS[-1].hex()), "Header 1 of --headers does not follow"),
        (text, ("--headers", HEADERS[-3].hex()[:-2]), "--headers has 79 bytes"),
        (text, ("--headers", unworked.header.hex()), "not the work in header 0 of --headers"),
        (text, (*known, "--transactions", "-1"), "Invalid value for '--transactions'"),
    ):
        status, shown = verify(capsys, proof, *words)
        assert (status, shown.count("\n")) == (1, 0), shown
        assert shown.startswith("Error: ") and why in shown, shown


def test_a_proof_that_takes_nodes_for_transactions_is_told_by_their_number(capsys: pytest.CaptureFixture[str]) -> None:
    """The tree cut off above its leaves: two hashes stand for a transaction of 64 bytes."""
    pairs = [sha256d(b"".join(BLOCK.txids[n : n + 2])) for n in range(0, 8, 2)]
    hashes, flags = build_proof(pairs, {pairs[1]})
    text = MerkleBlock(RAW[:80], len(pairs), tuple(hashes), flags).encode().hex()
    assert "of 4 transactions as the proof says" in verify(capsys, text, "--block", NAME)[1]
    status, shown = verify(capsys, text, "--block", NAME, "--transactions", "8")
    assert status == 1 and "The proof is about a block of 4 transactions, not 8" in shown


def test_the_network_says_how_much_work_a_block_has(capsys: pytest.CaptureFixture[str]) -> None:
    text = proof_of(2).encode().hex()
    status, shown = verify(capsys, text, "--block", NAME, network="mainnet")
    assert status == 1 and "not enough for this network" in shown
    status, shown = verify(capsys, text, "--block", NAME, network="moon")
    assert status == 1 and "Unknown network 'moon'" in shown


def test_no_part_of_a_proof_can_be_changed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever bit is flipped, or where it is cut: one line, and only what is in the block is ever proven."""
    commands = typer.main.get_command(cli.app)  # which takes longer than all else
    monkeypatch.setattr(typer.main, "get_command", lambda app: commands)
    data = proof_of(2, 6).encode()
    inside = set(map(to_display, BLOCK.txids))
    for bit in range(0, 8 * len(data), 3):
        bent = bytearray(data)
        bent[bit >> 3] ^= 1 << (bit & 7)
        status, shown = verify(capsys, bent.hex(), "--block", NAME)
        told = {line.split()[0] for line in shown.splitlines() if " is transaction " in line}
        assert (status == 1 and shown.startswith("Error: ")) or told <= inside, (bit, shown)
    for size in range(0, len(data), 7):
        status, shown = verify(capsys, data[:size].hex(), "--block", NAME)
        assert status == 1 and shown.startswith("Error: ")
