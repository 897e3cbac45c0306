"""The note of a set that the node has made itself: nothing else knows what stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.chain.snapshot_store import SnapshotStore, find_snapshot
from btcnode.errors import StorageError
from btcnode.networks.assumeutxo import AssumeUtxo
from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import BlockHash


def test_every_byte_of_the_note_is_proven(tmp_path: Path) -> None:
    params, known = params_for("regtest"), AssumeUtxo(7, BlockHash(bytes(range(32))), b"\x05" * 32, 9)
    store = SnapshotStore(tmp_path, known, own=True, trusted=True)
    store.activate()
    store.close()
    found = find_snapshot(tmp_path, params)
    assert found is not None
    found.close()
    assert (found.known, found.trusted) == (known, True)
    note = tmp_path / "chainstate_snapshot" / "base_blockhash"
    whole = note.read_bytes()
    for at in range(len(whole)):
        note.write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        with pytest.raises(StorageError):
            find_snapshot(tmp_path, params)
