"""Files of proofs: kept by block, found again, damaged ones as good as missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.errors import StorageError
from btcnode.primitives.hashes import BlockHash
from btcnode.storage.proof_files import ProofFiles

ONE, TWO = BlockHash(b"1" * 32), BlockHash(b"2" * 32)


def test_kept_and_found_again(tmp_path: Path) -> None:
    files = ProofFiles(tmp_path)
    assert files.get(ONE) is None and ONE not in files
    files.put(ONE, 7, b"proof")
    files.put(TWO, 9, b"")
    files.put(ONE, 7, b"better")
    again = ProofFiles(tmp_path)
    assert (again.get(ONE), again.get(TWO)) == (b"better", b"")
    assert sorted(again.hashes()) == [ONE, TWO]
    again.drop_up_to(8)
    assert again.get(ONE) is None and again.get(TWO) == b"" and len(list((tmp_path / "proofs").iterdir())) == 1
    again.drop(TWO)
    again.drop(TWO)
    assert not list((tmp_path / "proofs").iterdir())


@pytest.mark.parametrize("damage", [b"", b"\0", b"\0\0\0\0proof", b"\0\0\0\0"])
def test_damaged_is_missing(tmp_path: Path, damage: bytes) -> None:
    files = ProofFiles(tmp_path)
    files.put(ONE, 7, b"proof")
    [path] = (tmp_path / "proofs").iterdir()
    path.write_bytes(damage)
    assert files.get(ONE) == (b"" if damage == b"\0\0\0\0" else None)
    path.unlink()
    assert files.get(ONE) is None
    files.drop(ONE)


def test_a_proof_that_took_the_place_of_a_refused_one_stays(tmp_path: Path) -> None:
    files = ProofFiles(tmp_path)
    files.put(ONE, 7, b"forged")
    files.put(ONE, 7, b"right")
    files.drop(ONE, b"forged")
    assert files.get(ONE) == b"right"
    files.drop(ONE, b"right")
    files.drop(ONE, b"right")
    assert files.get(ONE) is None and not files.hashes()


def test_what_is_left_of_a_kill_goes(tmp_path: Path) -> None:
    files = ProofFiles(tmp_path)
    files.put(ONE, 7, b"proof")
    (tmp_path / "proofs" / "half.new").write_bytes(b"?")
    assert ProofFiles(tmp_path).hashes() == [ONE]
    assert len(list((tmp_path / "proofs").iterdir())) == 1


def test_no_folder_no_proofs(tmp_path: Path) -> None:
    (tmp_path / "proofs").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot use"):
        ProofFiles(tmp_path)
