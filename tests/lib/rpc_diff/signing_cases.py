"""Signing with keys: every form of output, bare or wrapped, under every hash type, with what is told of it or not."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.networks.parameters import params_for
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx

from .cases import Case
from .expressions import Grower
from .psbt_fields import psbt_of
from .text import Raw
from .values import TPRV, TPUB, Values
from .world import PUBKEYS, UNCOMPRESSED, wif

SIGHASHES: tuple[Any, ...] = (
    None, "DEFAULT", "ALL", "NONE", "SINGLE", "ALL|ANYONECANPAY", "NONE|ANYONECANPAY", "SINGLE|ANYONECANPAY",
)  # fmt: skip
KEYS = range(6)
VALUE = 50_000


@dataclass(frozen=True, slots=True)
class Output:
    """An output's descriptor, its script and what is told of it where it is spent, as hex."""

    descriptor: str
    script: str
    redeem: str | None = None
    witness: str | None = None


def _inner(rng: Random, grower: Grower, *, xonly: bool = False) -> str:
    """An expression that stands alone, in sh() and wsh(), or is a leaf."""
    keys = [rng.choice(PUBKEYS[: len(KEYS)]).hex() for _ in range(rng.choice((1, 2, 3)))]
    if not xonly and rng.random() < 0.1:
        keys[0] = rng.choice((UNCOMPRESSED[0].hex(), f"{TPUB}/0/*", f"[d34db33f/44h]{TPUB}/1"))
    if xonly:
        keys = [key[2:] for key in keys]
    least = rng.randint(1, len(keys))
    multi = "multi_a" if xonly else "multi"
    return rng.choice(
        (
            f"pk({keys[0]})",
            f"pkh({keys[0]})",
            f"{multi}({least},{','.join(keys)})",
            f"sorted{multi}({least},{','.join(keys)})",
            f"wpkh({keys[0]})",
            grower.typed("B", 2, xonly=xonly),
            f"and_v(v:pk({keys[0]}),older({rng.choice((1, 5, 144))}))",
            f"or_d(pk({keys[0]}),and_v(v:pk({keys[-1]}),after({rng.choice((1, 100, 500_000_001))})))",
        )
    )


def _taproot(rng: Random, grower: Grower) -> str:
    """A taproot output with up to three leaves."""
    key = rng.choice((PUBKEYS[1].hex()[2:], PUBKEYS[2].hex(), f"{TPUB}/7/*", "50929b74c1a04954b78b4b6035e97a5e"
                      "078a5a0f28ec96d547bfee9ace803ac0", f"musig({PUBKEYS[0].hex()},{PUBKEYS[1].hex()})"))  # fmt: skip
    one, two, three = (_inner(rng, grower, xonly=True) for _ in range(3))
    return str(rng.choice((f"tr({key})", f"tr({key},{one})", f"tr({key},{{{one},{two}}})",
                           f"tr({key},{{{one},{{{two},{three}}}}})", f"rawtr({key})")))  # fmt: skip


def _output(rng: Random, grower: Grower) -> Output:
    """An output of some form."""
    while True:
        form = rng.choice(("{}", "sh({})", "wsh({})", "sh(wsh({}))", "tr", "tr"))
        text = _taproot(rng, grower) if form == "tr" else form.format(_inner(rng, grower))
        known = SigningProvider()
        try:
            made, *_ = parse_descriptor(text, params_for("regtest"), SigningProvider())
            scripts = made.expand(0, SigningProvider(), known)
        except DescriptorError:
            continue
        told = [script.hex() for script in known.scripts.values()]
        found = (scripts or [b""])[0].hex()
        if text.startswith("sh(wsh("):
            redeem = next((script for script in told if script.startswith("0020")), None)
            return Output(text, found, redeem, next((script for script in told if script != redeem), None))
        if text.startswith("sh("):
            return Output(text, found, told[0] if told else None)
        return Output(text, found, None, told[0] if text.startswith("wsh(") and told else None)


def _told(rng: Random, outpoint: bytes, output: Output) -> dict[str, Any]:
    """What the caller says of an output: all, too little, or something wrong."""
    row: dict[str, Any] = {
        "txid": outpoint[:32][::-1].hex(),
        "vout": int.from_bytes(outpoint[32:], "little"),
        "scriptPubKey": output.script,
    }
    if output.redeem:
        row["redeemScript"] = output.redeem
    if output.witness:
        row["witnessScript"] = output.witness
    if rng.random() < 0.9:
        row["amount"] = Raw("0.0005")
    roll = rng.random()
    if roll < 0.1:
        row.pop(rng.choice(list(row)))
    elif roll < 0.15:
        row["redeemScript"] = rng.choice((output.witness or "51", output.script, "", "6a"))
    elif roll < 0.2:
        row["witnessScript"] = rng.choice((output.redeem or "51", output.script, "", "6a"))
    elif roll < 0.25:
        row["amount"] = rng.choice((0, Raw("0.00049999"), 21_000_001, -1, "0.0005"))
    return row


def _transactions(rng: Random, grower: Grower) -> Iterator[Case]:
    """A transaction that spends outputs of any form."""
    spent = [(rng.randbytes(32) + rng.randrange(3).to_bytes(4, "little"), _output(rng, grower))
             for _ in range(rng.choice((1, 1, 2, 3)))]  # fmt: skip
    outs = [make_txout(VALUE // 2, bytes.fromhex(_output(rng, grower).script)) for _ in range(rng.choice((1, 1, 2)))]
    sequences = [rng.choice((0xFFFFFFFD, 0xFFFFFFFF, 0, 1, 5, 0x400001)) for _ in spent]
    prevouts = [outpoint for outpoint, _ in spent]
    tx = Tx(rng.choice((1, 2, 2)), prevouts, [b""] * len(spent), sequences, outs, None, rng.choice((0, 1, 100)))
    told = [_told(rng, outpoint, output) for outpoint, output in spent]
    keys = [wif(seed) for seed in KEYS] + [wif(0, compressed=False)]
    some = rng.sample(keys, rng.randrange(4))
    for sighash in SIGHASHES:
        yield Case("signrawtransactionwithkey", [tx.raw.hex(), keys, told, *([sighash] if sighash else [])])
    yield Case("signrawtransactionwithkey", [tx.raw.hex(), some, told])
    yield Case("signrawtransactionwithkey", [tx.raw.hex(), some, told * 2, rng.choice(SIGHASHES)])
    yield Case("signrawtransactionwithkey", [tx.raw.hex(), keys])


def _with_secrets(rng: Random, descriptor: str) -> str:
    """The descriptor with private keys in the place of most public ones."""
    for seed in KEYS:
        if rng.random() < 0.8:
            key = PUBKEYS[seed].hex()
            descriptor = descriptor.replace(key, wif(seed)).replace(f"({key[2:]}", f"({wif(seed)}")
    return descriptor.replace(TPUB, TPRV) if rng.random() < 0.8 else descriptor


def _psbts(rng: Random, grower: Grower) -> Iterator[Case]:
    """Psbts that bring what they spend: signed by descriptors, looked at, completed, combined."""
    outputs = [_output(rng, grower) for _ in range(rng.choice((1, 1, 2, 3)))]
    parents = [
        Tx(2, [rng.randbytes(36)], [b""], [0], [make_txout(VALUE, bytes.fromhex(output.script))]) for output in outputs
    ]
    outs = [make_txout(VALUE // 2, bytes.fromhex(_output(rng, grower).script)) for _ in range(rng.choice((1, 1, 2)))]
    sequences = [rng.choice((0xFFFFFFFD, 0xFFFFFFFF, 1, 5)) for _ in parents]
    prevouts = [parent.txid + bytes(4) for parent in parents]
    tx = Tx(2, prevouts, [b""] * len(parents), sequences, outs, None, rng.choice((0, 100)))
    maps = [[(b"\0", tx.raw)]]
    for parent in parents:
        whole, short = (b"\0", parent.raw), (b"\x01", parent.txouts[0])
        maps.append(rng.choice(([whole], [short], [whole, short], [whole, short], [])))
        if rng.random() < 0.3:
            maps[-1].append((b"\x03", rng.choice((0, 1, 2, 3, 0x81, 0x83)).to_bytes(4, "little")))
    psbt = base64.b64encode(psbt_of([*maps, *([] for _ in outs)])).decode()
    descriptors: list[Any] = [_with_secrets(rng, output.descriptor) for output in outputs]
    public: list[Any] = [{"desc": output.descriptor, "range": rng.choice((0, 2, [0, 1]))} for output in outputs]
    yield Case("utxoupdatepsbt", [psbt, public])
    yield Case("analyzepsbt", [psbt])
    for sighash in rng.sample(SIGHASHES, 3):
        yield Case("descriptorprocesspsbt", [psbt, descriptors, sighash or "ALL"])
    for flags in ((True, False), (False, True), (False, False)):
        yield Case("descriptorprocesspsbt", [psbt, descriptors[: rng.randint(0, len(descriptors))], "DEFAULT", *flags])
        yield Case("descriptorprocesspsbt", [psbt, [*descriptors[::-1], *public], "DEFAULT", *flags])


def cases(values: Values, count: int) -> Iterator[Case]:
    """``count`` times thirty transactions, each signed with all keys and with some; and as many psbts."""
    rng = values.rng
    grower = Grower(rng)
    for _ in range(count * 30):
        yield from _transactions(rng, grower)
        yield from _psbts(rng, grower)
