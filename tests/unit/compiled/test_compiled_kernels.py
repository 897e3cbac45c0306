"""Kernels, compiled and interpreted, against the plain code."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from ctypes import addressof, c_char
from random import Random

import pytest

from btcnode.compiled import spending
from btcnode.compiled.kernels import Kernels, check_kernels
from btcnode.primitives.block import TXS_FOR_KERNEL, ParsedBlock, parse_block, parse_block_in_steps
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import hash160
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.script.errors import ScriptError
from btcnode.script.flags import (
    MANDATORY_VERIFY_FLAGS,
    STANDARD_VERIFY_FLAGS,
    VERIFY_LOW_S,
    VERIFY_P2SH,
    VERIFY_TAPROOT,
    VERIFY_WITNESS,
)
from btcnode.script.runs import NO_CODE, judge, verify_run
from btcnode.script.scriptparse import push_data
from btcnode.script.sighash import SighashContext
from btcnode.script.signatures import pubkey_create, sign_ecdsa, sign_schnorr, xonly
from btcnode.script.verify import ScriptFailure, ScriptJob
from btcnode.storage.obfuscation import Obfuscation
from btcnode.swiftsync.elias_fano import encode_indices
from btcnode.swiftsync.fold import FoldJob, fold_parsed, spendable_outputs
from btcnode.testing.blocks import assemble, coinbase_tx, witness_commitment
from btcnode.testing.templates import TEMPLATES, seckey, signed_tx
from tests.lib.block_fuzz import mutate_bytes
from tests.lib.kernels import (
    assert_facts,
    assert_proven_is_valid,
    compiled_kernels,
    parse_both_ways,
    plain_kernels,
    with_kernels,
)

Spend = tuple[Tx, list[bytes]]


@pytest.fixture
def fast() -> Kernels:
    found = compiled_kernels()
    if found is None:
        pytest.skip("numba is not installed")
    return found


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with with_kernels(None):
        yield


def spend(template: str, inputs: int = 1, seed: int = 7) -> Spend:
    owners = [TEMPLATES[template](seed + k) for k in range(inputs)]
    spent = [make_txout(5_000 + k, owner.script_pubkey) for k, owner in enumerate(owners)]
    coins = [(seed.to_bytes(32, "big") + k.to_bytes(4, "little"), spent[k], owners[k]) for k in range(inputs)]
    return signed_tx(coins, [make_txout(4_000, b"\x51"), make_txout(3, b"\x6a\x01\x02")]), spent


def mixed_spends(seed: int = 1) -> list[Spend]:
    return [spend(name, 1 + k % 3, seed + 10 * k) for k, name in enumerate([*TEMPLATES, *TEMPLATES])]


def block_of(txs: Sequence[Tx]) -> bytes:
    coinbase = coinbase_tx(7, 50, commitment=witness_commitment(txs))
    return assemble(bytes(80), [coinbase, *txs])


def simple_tx(*prevouts: bytes, values: Sequence[int] = (1,), sequence: int = 0xFFFFFFFF, lock: int = 0) -> Tx:
    txouts = [make_txout(value, b"\xac\x61") for value in values]
    return Tx(2, list(prevouts), [b"\x51"] * len(prevouts), [sequence] * len(prevouts), txouts, None, lock)


def outpoint(number: int, vout: int = 0) -> bytes:
    return number.to_bytes(32, "little") + vout.to_bytes(4, "little")


def scanned(raw: bytes, kernels: Kernels) -> ParsedBlock:
    block = parse_both_ways(raw, kernels)
    assert block is not None and block.facts is not None
    return block


# ---- blocks


def test_a_block_with_every_template_is_scanned_as_it_is_parsed(kernels: Kernels) -> None:
    block = scanned(block_of([tx for tx, _ in mixed_spends()]), kernels)
    assert assert_facts(block)


def test_few_transactions_are_not_worth_a_kernel(fast: Kernels) -> None:
    raw = block_of([simple_tx(outpoint(k)) for k in range(TXS_FOR_KERNEL - 2)])
    with with_kernels(fast):
        assert parse_block(raw).facts is None


@pytest.mark.parametrize(("most", "steps"), [(1_501, 0), (1_500, 3)])
def test_more_transactions_than_any_block_had_are_no_single_step(
    fast: Kernels, monkeypatch: pytest.MonkeyPatch, most: int, steps: int
) -> None:
    monkeypatch.setattr("btcnode.primitives.block.TXS_AT_ONCE", most)
    raw = block_of([simple_tx(outpoint(k)) for k in range(1, 1_501)])
    with with_kernels(fast):
        parsing = parse_block_in_steps(raw)
        taken = 0
        while True:
            try:
                next(parsing)
            except StopIteration as end:
                block = end.value
                break
            taken += 1
    assert (taken, block.facts is not None) == (steps, steps == 0)
    assert block.txids == parse_block(raw).txids


@pytest.mark.parametrize(
    ("changed", "sound"),
    [
        (simple_tx(outpoint(3)), False),  # spent by another one of the block
        (simple_tx(outpoint(90), outpoint(90)), False),
        (simple_tx(outpoint(90), outpoint(90, 1)), True),
        (simple_tx(outpoint(90), NULL_OUTPOINT), False),
        (simple_tx(NULL_OUTPOINT), False),
        (simple_tx(outpoint(90, 0xFFFFFFFF)), True),
        (simple_tx(outpoint(0, 5)), True),
        (simple_tx(outpoint(90), values=[21 * 10**14]), False),  # together with the others
        (simple_tx(outpoint(90), values=[21 * 10**14 - 50 - 20]), True),
        (simple_tx(outpoint(90), values=[-1]), False),
        (simple_tx(outpoint(90), values=[2**63 - 1, 2**63 - 1, 4]), False),
        (simple_tx(outpoint(90), values=[]), False),
        (simple_tx(outpoint(90), values=[*[21 * 10**14] * 4392, 2**63 - 1 - 4392 * 21 * 10**14]), False),
        (simple_tx(outpoint(90), values=[*[21 * 10**14] * 8784, 2**64 - 40 - 8784 * 21 * 10**14]), False),
    ],
)
def test_what_is_against_a_rule_is_not_sound(kernels: Kernels, changed: Tx, sound: bool) -> None:
    others = [simple_tx(outpoint(k)) for k in range(1, 21)]
    block = scanned(block_of([*others, changed]), kernels)
    assert assert_facts(block) is sound


@pytest.mark.parametrize(
    ("sequence", "lock"), [(0xFFFFFFFF, 9), (0xFFFFFFFE, 0), (0, 11), (5, 499_999_999), (5, 2**31)]
)
def test_locks(kernels: Kernels, sequence: int, lock: int) -> None:
    txs = [simple_tx(outpoint(k), sequence=0, lock=10) for k in range(1, 13)]
    assert assert_facts(scanned(block_of([*txs, simple_tx(outpoint(90), sequence=sequence, lock=lock)]), kernels))


def test_outpoints_that_meet_in_the_table_are_left_to_others(fast: Kernels) -> None:
    """Somebody who chooses txids makes a slow table of it; a set of Python's has a key."""
    same = [bytes(8) + bytes(8) + k.to_bytes(16, "little") + bytes(4) for k in range(1, 200)]
    block = scanned(block_of([simple_tx(each) for each in same]), fast)
    assert block.facts is not None and not block.facts.sound


def test_scripts_of_every_opcode_have_the_same_sigops(fast: Kernels) -> None:
    rng = Random(3)
    for _ in range(200):
        scripts = [
            rng.choices(bytes(range(256)) + b"\xac\xae\x4c\x4d\x4e" * 20, k=rng.randrange(40)) for _ in range(30)
        ]
        txs = [
            Tx(1, [outpoint(k + 1)], [bytes(script)], [0], [make_txout(1, bytes(script[::-1]))])
            for k, script in enumerate(scripts)
        ]
        assert_facts(scanned(block_of(txs), fast))


def test_changed_bytes_are_read_alike(fast: Kernels) -> None:
    rng = Random(1)
    raw = block_of([tx for tx, _ in mixed_spends()])
    found = 0
    for _ in range(3_000):
        changed = raw[:80] + mutate_bytes(raw[80:], rng)
        block = parse_both_ways(changed, fast)
        if block is not None:
            found += block.facts is not None
            assert_facts(block)
    assert found > 500


def test_every_cut_is_read_alike(fast: Kernels) -> None:
    raw = block_of([tx for tx, _ in mixed_spends()])
    for size in range(81, len(raw)):
        assert parse_both_ways(raw[:size], fast) is None


def test_sizes_that_no_message_has_are_read_alike(fast: Kernels) -> None:
    raw = block_of([simple_tx(outpoint(k)) for k in range(1, 20)])
    at = raw.index(b"\x01\x51\xff\xff\xff\xff")  # the size of a script_sig
    for size in (
        b"\xfd\x01\x00",
        b"\xfe\x01\x00\x00\x00",
        b"\xff" + b"\x01" + bytes(7),
        b"\xff" * 9,
        b"\xfe" + b"\xff" * 4,
    ):
        assert parse_both_ways(raw[:at] + size + raw[at + 1 :], fast) is None


# ---- merkle trees


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 100])
def test_merkle_roots(kernels: Kernels, count: int) -> None:
    rng = Random(count)
    hashes = [rng.randbytes(32) for _ in range(count)]
    for same in (None, 0, count // 2, count - 2):
        changed = list(hashes)
        if same is not None and same + 1 < count:
            changed[same + 1] = changed[same]
        assert kernels.merkle_root(b"".join(changed)) == merkle_root(changed)


# ---- SwiftSync, block files


@pytest.mark.parametrize("coinbase_lost", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_block_is_folded_alike(kernels: Kernels, share: float, coinbase_lost: bool) -> None:
    rng = Random(f"{share}")
    large = Tx(
        1,
        [outpoint(77)],
        [b""],
        [0],
        [make_txout(k, rng.randbytes(size)) for k, size in enumerate((0, 252, 253, 9_999, 10_001))],
    )
    block = parse_both_ways(block_of([large, *[tx for tx, _ in mixed_spends()]]), kernels)
    assert block is not None
    count = len(spendable_outputs(block, coinbase_lost=coinbase_lost))
    hint = encode_indices(sorted(rng.sample(range(count), int(share * count))))
    job = FoldJob(rng.randbytes(16), 1000, 0, coinbase_lost, hint)
    with with_kernels(kernels):
        fast = fold_parsed(block, job)
    block.facts = None
    assert fast == fold_parsed(block, job)
    assert fast.coins == int(share * count) and fast.inputs == len(block.in_pos) - 1


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 8_193, 9_000, 9_007])
def test_block_files_are_hidden_alike(kernels: Kernels, size: int) -> None:
    rng = Random(size)
    for key in (rng.randbytes(8), b"\xff" * 8, b"\x80" + bytes(7)):
        data, hidden = rng.randbytes(size), Obfuscation(key)
        assert kernels.apply_key(data, key) == bytes(byte ^ key[k % 8] for k, byte in enumerate(data))
        for position in range(9):
            plain = hidden.apply(data, position)
            with with_kernels(kernels):
                assert hidden.apply(data, position) == plain


# ---- spends


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("flags", [MANDATORY_VERIFY_FLAGS, STANDARD_VERIFY_FLAGS])
@pytest.mark.parametrize("inputs", [1, 3])
def test_standard_spends_are_proven(kernels: Kernels, template: str, flags: int, inputs: int) -> None:
    tx, spent = spend(template, inputs)
    assert assert_proven_is_valid(kernels, tx.raw, spent, flags) == list(range(inputs))


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_need_their_flags(fast: Kernels, template: str) -> None:
    tx, spent = spend(template)
    for missing in (VERIFY_P2SH | VERIFY_WITNESS | VERIFY_TAPROOT, VERIFY_WITNESS | VERIFY_TAPROOT, VERIFY_TAPROOT):
        assert_proven_is_valid(fast, tx.raw, spent, MANDATORY_VERIFY_FLAGS & ~missing)
    proven = assert_proven_is_valid(fast, tx.raw, spent, 0)
    assert proven == ([0] if template == "p2pkh" else [])


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_flipped_bit_is_proven(fast: Kernels, template: str) -> None:
    """In the transaction or in the coins: what kernels prove then is valid, and what is signed never is proven."""
    tx, spent = spend(template, 2)
    for position in range(len(tx.raw) * 8):
        raw = bytearray(tx.raw)
        raw[position >> 3] ^= 1 << (position & 7)
        assert_proven_is_valid(fast, bytes(raw), spent, MANDATORY_VERIFY_FLAGS)
    for position in range(len(spent[0]) * 8):
        coin = bytearray(spent[0])
        coin[position >> 3] ^= 1 << (position & 7)
        found = assert_proven_is_valid(fast, tx.raw, [bytes(coin), spent[1]], MANDATORY_VERIFY_FLAGS)
        legacy = template in ("p2pkh", "p2sh-multisig")
        assert 0 not in found or (legacy and position < 64)  # which sign no amount


def test_high_s_is_left_to_others_where_it_matters(fast: Kernels) -> None:
    from btcnode.script.signatures import CURVE_ORDER

    tx, spent = spend("p2wpkh")
    sig, key = tx.witnesses[0]
    s_at = sig.rindex(b"\x02", 0, -33) if sig[-34:-33] != b"\x20" else len(sig) - 35
    size = sig[s_at + 1]
    high = (CURVE_ORDER - int.from_bytes(sig[s_at + 2 : s_at + 2 + size], "big")).to_bytes(33, "big")
    body = sig[2:s_at] + b"\x02\x21" + high
    changed = b"\x30" + bytes([len(body)]) + body + sig[-1:]
    raw = Tx(tx.version, tx.prevouts, tx.script_sigs, tx.sequences, tx.txouts, [[changed, key]], tx.lock_time).raw
    assert assert_proven_is_valid(fast, raw, spent, MANDATORY_VERIFY_FLAGS) == [0]
    assert assert_proven_is_valid(fast, raw, spent, MANDATORY_VERIFY_FLAGS | VERIFY_LOW_S) == []


@pytest.mark.parametrize("head", [0, 1, 2, 3, 4, 5, 6, 7, 0xFF])
@pytest.mark.parametrize("template", ["p2pkh", "p2wpkh"])
def test_what_is_no_ecdsa_key_is_not_taken_for_an_xonly_one(kernels: Kernels, template: str, head: int) -> None:
    """The table of keys has those 32 bytes from the first input, and with them a key that verifies the signature."""
    secret = next(key for key in map(seckey, range(9)) if pubkey_create(key)[0] == 2)
    key = bytes([head]) + xonly(secret)
    code = b"\x76\xa9\x14" + hash160(key) + b"\x88\xac"
    spent = [make_txout(9, b"\x51\x20" + key[1:]), make_txout(8, b"\0" + code[2:23] if template == "p2wpkh" else code)]
    prevouts, outs = [outpoint(1), outpoint(2)], [make_txout(1, b"")]
    ctx = SighashContext(Tx(2, prevouts, [b"", b""], [0, 0], outs, [[bytes(64)], []]), spent)
    digest = ctx.taproot(0, 0)
    assert digest is not None
    message = ctx.segwit_v0(1, code, ctx.amount(1), 1) if template == "p2wpkh" else ctx.legacy(1, code, 1)
    solution = [sign_ecdsa(secret, message) + b"\x01", key]
    script_sig, stack = (b"", solution) if template == "p2wpkh" else (b"".join(map(push_data, solution)), [])
    tx = Tx(2, prevouts, [b"", script_sig], [0, 0], outs, [[sign_schnorr(secret, digest)], stack])
    assert assert_proven_is_valid(kernels, tx.raw, spent, MANDATORY_VERIFY_FLAGS) == ([0, 1] if head == 2 else [0])


def test_an_empty_place_of_the_table_has_no_key() -> None:
    """It has the name FF...: libsecp256k1 ends the process that verifies with a key which it never parsed."""
    key, kernels = bytearray(b"\xff" * 33), plain_kernels()
    assert spending._parsed_key(kernels._env(verifying=True), addressof(c_char.from_buffer(key)), 33) == 0


def packed(spends: Sequence[Spend]) -> tuple[bytes, bytes]:
    return b"".join([tx.raw for tx, _ in spends]), b"".join([NO_CODE + txout for _, spent in spends for txout in spent])


def test_a_run_is_valid_with_inputs_that_only_the_interpreter_knows(fast: Kernels) -> None:
    odd = (
        Tx(1, [outpoint(5), outpoint(6)], [b"\x51", b""], [0, 0], [make_txout(1, b"")]),
        [make_txout(9, b""), make_txout(8, b"\x51")],
    )
    runs = [mixed_spends(1)[0], odd, *mixed_spends(2)]
    raw, coins = packed(runs)
    count = sum(len(spent) for _, spent in runs)
    assert judge(raw, coins, len(runs), MANDATORY_VERIFY_FLAGS) is None  # without kernels
    bad = ScriptJob(odd[0].raw, [make_txout(9, b""), make_txout(8, b"\x6a")], MANDATORY_VERIFY_FLAGS)
    good = [ScriptJob(tx.raw, spent, MANDATORY_VERIFY_FLAGS) for tx, spent in runs]
    failure = ScriptFailure(1, ScriptError.OP_RETURN)
    for kernels in (None, fast):
        with with_kernels(kernels):
            assert verify_run([]) is None and verify_run(good) is None
            assert verify_run([*good, bad, *good, bad]) == (len(good), failure)
    with with_kernels(fast):
        assert judge(raw, coins, len(runs), MANDATORY_VERIFY_FLAGS) == (count, None)
        for other in (len(runs) - 1, len(runs) + 1):
            assert judge(raw, coins, other, MANDATORY_VERIFY_FLAGS) is None
        assert judge(raw, coins[:-1], len(runs), MANDATORY_VERIFY_FLAGS) is None
        assert judge(raw + b"\0", coins, len(runs), MANDATORY_VERIFY_FLAGS) is None
        with pytest.raises(ValueError):
            judge(raw, coins, len(runs), VERIFY_WITNESS)


def test_many_inputs_of_one_transaction(fast: Kernels) -> None:
    for template in ("p2pkh", "p2wpkh", "p2tr-key"):
        tx, spent = spend(template, 230)
        proven = assert_proven_is_valid(fast, tx.raw, spent, MANDATORY_VERIFY_FLAGS)
        assert proven == ([] if template == "p2pkh" else list(range(230)))


def test_threads_have_rooms_of_their_own(fast: Kernels) -> None:
    raw, coins = packed(mixed_spends())
    jobs = len(mixed_spends())
    results: list[int] = []

    def work() -> None:
        for _ in range(20):
            proven = fast.verify_spends(raw, coins, jobs, MANDATORY_VERIFY_FLAGS)
            results.append(-1 if proven is None else len(proven.unproven))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 80


def test_only_a_thread_that_verifies_has_room_for_keys(fast: Kernels) -> None:
    raw, coins = packed([spend("p2wpkh")])
    sizes: list[int] = []

    def work() -> None:
        fast.merkle_root(bytes(64))
        sizes.append(len(fast._threads.environment._keys))
        fast.verify_spends(raw, coins, 1, MANDATORY_VERIFY_FLAGS)
        sizes.append(len(fast._threads.environment._keys))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert sizes == [0, spending.KEY_SLOT << 14]


def test_the_check_of_loaded_kernels_passes(kernels: Kernels) -> None:
    check_kernels(kernels)
