"""Whose proof a block could not be connected by."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import AsyncMock, MagicMock

from btcnode.chain.events import BlockUnproven
from btcnode.errors import ForgedProofError, MissingProofError
from btcnode.primitives.hashes import BlockHash
from btcnode.protocol.commands import ProofRefused, ProofsKept
from btcnode.protocol.effects import KeepProof
from btcnode.services.proof_keeper import ProofKeeper
from btcnode.storage.proof_files import ProofFiles

NAME = BlockHash(b"n" * 32)
LIAR, OTHER_LIAR, HONEST = 3, 4, 5


def test_a_refusal_names_who_told_the_proof_that_was_tried(tmp_path: Path) -> None:
    files, chain, fed = ProofFiles(tmp_path), MagicMock(), list[object]()
    chain.tree.hash.return_value, chain.tree.height.return_value = NAME, 7
    chain.driver.in_reader = AsyncMock(side_effect=lambda work: work())

    def refuse(error: ForgedProofError | MissingProofError) -> ProofRefused:
        chain.driver.listen.call_args[0][0]([BlockUnproven(9, error)])
        told = fed.pop()
        assert isinstance(told, ProofRefused)
        return told

    async def run() -> None:
        keeper = ProofKeeper(files, chain, fed.append, MagicMock())
        for peer, proof in ((LIAR, b"forged"), (OTHER_LIAR, b"forged"), (HONEST, b"right")):
            keeper.keep(KeepProof(peer, 9, proof))
            await keeper.close()
            assert fed.pop() == ProofsKept((9,), peer)
        # who told the same last has his in the place of the first one's
        assert refuse(ForgedProofError("no", b"forged")) == ProofRefused(9, "no", True, OTHER_LIAR)
        assert files.get(NAME) == b"right"
        assert refuse(ForgedProofError("no", b"of an earlier run")) == ProofRefused(9, "no", True, -1)
        assert refuse(MissingProofError("none")) == ProofRefused(9, "none", False, -1)
        assert files.get(NAME) == b"right"
        assert refuse(ForgedProofError("no", b"right")) == ProofRefused(9, "no", True, HONEST)
        assert files.get(NAME) is None

    asyncio.run(run())
