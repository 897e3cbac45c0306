"""The vectors of the SwiftSync drafts."""

from __future__ import annotations

import json
from pathlib import Path

from btcnode.swiftsync.elias_fano import decode_indices, encode_indices


def test_elias_fano(vectors: Path) -> None:
    for indices, encoding in json.loads((vectors / "swiftsync/elias_fano.json").read_text()):
        assert encode_indices(indices).hex() == encoding
        assert decode_indices(bytes.fromhex(encoding)) == indices
