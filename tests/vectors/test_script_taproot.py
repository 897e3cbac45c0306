"""BIP341/BIP342: the corpus of Core's functional taproot test, and the BIP's wallet vectors."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.script.flags import MANDATORY_VERIFY_FLAGS, VERIFY_P2SH, VERIFY_TAPROOT, VERIFY_WITNESS
from btcnode.script.sighash import SighashContext, tapbranch_hash, tapleaf_hash
from btcnode.script.signatures import tap_tweak_hash, taproot_tweak_pubkey, taproot_tweak_seckey, verify_schnorr, xonly
from btcnode.script.tapscript import is_committed
from btcnode.script.verify import verify_input
from tests.lib.script_text import parse_flags, verify_both_ways

PASSES, FAILURES, FINAL = 2760, 2483, 708
REST = [1 << bit for bit in range(21) if MANDATORY_VERIFY_FLAGS >> bit & 1]


def consistent_sets() -> list[int]:
    """Every set of the seven consensus flags in which WITNESS has P2SH, and TAPROOT has WITNESS."""
    sets = []
    for chosen in itertools.product((0, 1), repeat=len(REST)):
        flags = sum(bit for bit, on in zip(REST, chosen, strict=True) if on)
        if flags & VERIFY_WITNESS and not flags & VERIFY_P2SH:
            continue
        if flags & VERIFY_TAPROOT and not flags & VERIFY_WITNESS:
            continue
        sets.append(flags)
    return sets


@pytest.fixture(scope="module")
def corpus(vectors: Path) -> list[dict[str, Any]]:
    with gzip.open(vectors / "btcd/taproot-ref.json.gz") as file:
        entries: list[dict[str, Any]] = json.load(file)
    assert len(entries) == PASSES
    return entries


def spends(entry: dict[str, Any]) -> Iterator[tuple[bool, Tx, int, list[bytes], SighashContext]]:
    """The transaction with the succeeding, then (if there is one) with the failing script_sig and witness."""
    base = Tx.parse(bytes.fromhex(entry["tx"]))
    spent = [bytes.fromhex(prevout) for prevout in entry["prevouts"]]
    index = entry["index"]
    for good in (True, False):
        data = entry.get("success" if good else "failure")
        if data is None:
            continue
        scripts = list(base.script_sigs)
        scripts[index] = bytes.fromhex(data["scriptSig"])
        stacks: list[list[bytes]] = [[] for _ in base.prevouts]
        stacks[index] = [bytes.fromhex(item) for item in data["witness"]]
        tx = Tx(base.version, base.prevouts, scripts, base.sequences, base.txouts, stacks, base.lock_time)
        yield good, tx, index, spent, SighashContext(tx, spent)


def test_corpus_with_its_flags(corpus: list[dict[str, Any]]) -> None:
    passed = failed = 0
    for entry in corpus:
        flags = parse_flags(entry["flags"])
        for good, tx, index, spent, ctx in spends(entry):
            error = verify_both_ways(tx, index, spent, flags, ctx)
            if good:
                assert error is None, (entry["comment"], error)
                passed += 1
            else:
                assert error is not None, entry["comment"]
                failed += 1
    assert (passed, failed) == (PASSES, FAILURES)
    assert sum(bool(entry.get("final")) for entry in corpus) == FINAL


@pytest.mark.slow
def test_corpus_with_every_flag_set(corpus: list[dict[str, Any]]) -> None:
    """Success holds for every subset (every set, when final), failure for every superset."""
    sets = consistent_sets()
    assert len(sets) == 64
    for entry in corpus:
        named = parse_flags(entry["flags"])
        for good, tx, index, spent, ctx in spends(entry):
            for flags in sets:
                if good and (entry.get("final") or flags & named == flags):
                    assert verify_input(tx, index, spent, flags, ctx) is None, (entry["comment"], flags)
                elif not good and flags & named == named:
                    assert verify_input(tx, index, spent, flags, ctx) is not None, (entry["comment"], flags)


def leaves_of(tree: Any) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Root of a script tree, and ``(leaf hash, path)`` for each leaf in order."""
    if isinstance(tree, dict):
        leaf = tapleaf_hash(tree["leafVersion"], bytes.fromhex(tree["script"]))
        return leaf, [(leaf, b"")]
    (left, left_leaves), (right, right_leaves) = leaves_of(tree[0]), leaves_of(tree[1])
    paths = [(leaf, path + right) for leaf, path in left_leaves] + [(leaf, path + left) for leaf, path in right_leaves]
    return tapbranch_hash(left, right), paths


def test_wallet_script_pubkeys(vectors: Path) -> None:
    cases = json.loads((vectors / "core/bip341_wallet_vectors.json").read_text())["scriptPubKey"]
    assert len(cases) == 7
    for case in cases:
        given, between, expected = case["given"], case["intermediary"], case["expected"]
        internal = bytes.fromhex(given["internalPubkey"])
        root, leaves = leaves_of(given["scriptTree"]) if given["scriptTree"] else (b"", [])
        if leaves:
            assert [leaf.hex() for leaf, _ in leaves] == between["leafHashes"]
            assert root.hex() == between["merkleRoot"]
        assert tap_tweak_hash(internal, root).hex() == between["tweak"]
        output, parity = taproot_tweak_pubkey(internal, root)
        assert output.hex() == between["tweakedPubkey"]
        assert "5120" + output.hex() == expected["scriptPubKey"]
        for (leaf, path), control in zip(leaves, expected.get("scriptPathControlBlocks", []), strict=True):
            raw = bytes.fromhex(control)
            assert (raw[0] & 1, raw[1:33], raw[33:]) == (parity, internal, path)
            assert is_committed(raw, output, leaf)
            assert not is_committed(bytes((raw[0] ^ 1,)) + raw[1:], output, leaf)


def test_wallet_key_path(vectors: Path) -> None:
    (case,) = json.loads((vectors / "core/bip341_wallet_vectors.json").read_text())["keyPathSpending"]
    unsigned = Tx.parse(bytes.fromhex(case["given"]["rawUnsignedTx"]))
    spent = [make_txout(u["amountSats"], bytes.fromhex(u["scriptPubKey"])) for u in case["given"]["utxosSpent"]]
    ctx = SighashContext(unsigned, spent)
    named = dict(zip(("hashPrevouts", "hashSequences", "hashOutputs"), ctx.shared(), strict=True))
    assert all(case["intermediary"][name] == value.hex() for name, value in named.items())
    assert len(case["inputSpending"]) == 7
    for spend in case["inputSpending"]:
        given = spend["given"]
        digest = ctx.taproot(given["txinIndex"], given["hashType"])
        assert digest is not None and digest.hex() == spend["intermediary"]["sigHash"]
        root = bytes.fromhex(given["merkleRoot"] or "")
        secret = taproot_tweak_seckey(bytes.fromhex(given["internalPrivkey"]), root)
        assert secret.hex() == spend["intermediary"]["tweakedPrivkey"]
        (sig,) = (bytes.fromhex(item) for item in spend["expected"]["witness"])
        assert verify_schnorr(xonly(secret), sig[:64], digest)
        stacks: list[list[bytes]] = [[] for _ in spent]
        stacks[given["txinIndex"]] = [sig]
        tx = Tx(
            unsigned.version, unsigned.prevouts, unsigned.script_sigs, unsigned.sequences, unsigned.txouts, stacks,
            unsigned.lock_time,
        )  # fmt: skip
        assert verify_input(tx, given["txinIndex"], spent, MANDATORY_VERIFY_FLAGS) is None
