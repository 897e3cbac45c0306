"""Signing with the keys of a wallet: whole transactions, and what a PSBT lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.psbt import Psbt, PsbtInput
from btcnode.descriptors.psbt_roles import (
    Outcome,
    drop_unneeded_transactions,
    is_complete,
    sign_input,
    update_output,
)
from btcnode.descriptors.sign_transaction import sign_transaction
from btcnode.descriptors.solutions import solve
from btcnode.primitives.coin import txout_script
from btcnode.primitives.steps import Steps
from btcnode.primitives.tx import Tx
from btcnode.wallet.errors import WalletError
from btcnode.wallet.wallet import OpenedSecrets, Wallet

CANNOT_SIGN = "Signing transaction failed"


class Signing(NamedTuple):
    """What it takes to sign a transaction: keys, and what it spends by outpoint. A value: the work may go on
    elsewhere.
    """

    provider: SigningProvider
    txouts: Mapping[bytes, bytes]

    def sign(self, tx: Tx) -> Tx:
        """The transaction with all signatures. Raises WalletError when one cannot be made."""
        signed, errors = sign_transaction(tx, self.provider, self.txouts, 0)
        if errors:
            raise WalletError(CANNOT_SIGN)
        return signed


def prepare_signing(wallet: Wallet, tx: Tx) -> Steps[Signing]:
    """For what the wallet can sign, as far as it is unlocked; in steps."""
    txouts = {}
    for prevout in tx.prevouts:
        entry = wallet.ledger.transactions.get(prevout[:32])
        vout = int.from_bytes(prevout[32:], "little")
        if entry is not None and vout < len(entry.tx.txouts):
            txouts[prevout] = entry.tx.txouts[vout]
    provider = yield from wallet.signing_provider(map(txout_script, txouts.values()))
    return Signing(provider, txouts)


class PsbtFilling(NamedTuple):
    """What a wallet knows of each input and output of a PSBT, None where that is nothing."""

    inputs: Sequence[SigningProvider | None]
    outputs: Sequence[SigningProvider | None]

    def fill(self, psbt: Psbt, hash_type: int | None, *, finalize: bool) -> Outcome:
        """Update and sign as far as possible; what went wrong, or whether all signatures are there."""
        for index, provider in enumerate(self.inputs):
            if provider is None or psbt.inputs[index].is_final:
                continue
            outcome = sign_input(provider, psbt, index, hash_type=hash_type, finalize=finalize)
            if outcome not in (Outcome.DONE, Outcome.INCOMPLETE):
                return outcome
        for index, provider in enumerate(self.outputs):
            if provider is not None:
                update_output(provider, psbt, index)
        drop_unneeded_transactions(psbt)
        return Outcome.DONE if is_complete(psbt) else Outcome.INCOMPLETE


def add_transactions(wallet: Wallet, psbt: Psbt) -> None:
    """Give a PSBT the transactions of the wallet that it spends from."""
    for item, prevout in zip(psbt.inputs, psbt.tx.prevouts, strict=True):
        entry = wallet.ledger.transactions.get(prevout[:32])
        if not item.is_final and item.non_witness_utxo is None and entry is not None:
            item.non_witness_utxo = entry.tx


def prepare_filling(wallet: Wallet, psbt: Psbt, *, sign: bool, origins: bool) -> Steps[PsbtFilling]:
    """What the wallet knows of a PSBT, which gets the transactions that it spends from; in steps.

    With ``sign`` private keys are used, as far as the wallet is unlocked; ``origins``: the PSBT is told where keys
    come from. Raises WalletError where an input spends an output that its transaction does not have.
    """

    def limited(found: SigningProvider, *, secrets: bool) -> SigningProvider:
        provider = SigningProvider(wallet.nonces)
        provider.merge(found)
        provider.hide_secrets, provider.hide_origins = not secrets, not origins
        return provider

    add_transactions(wallet, psbt)
    opened = OpenedSecrets(wallet.vault)
    inputs: list[SigningProvider | None] = []
    for item, prevout in zip(psbt.inputs, psbt.tx.prevouts, strict=True):
        yield
        inputs.append(None)
        if item.is_final:
            continue
        vout = int.from_bytes(prevout[32:], "little")
        if item.non_witness_utxo is not None and vout >= len(item.non_witness_utxo.txouts):
            raise WalletError("Inputs missing or spent")
        txout = item.utxo(prevout)
        if txout is None:
            continue
        script, found = txout_script(txout), SigningProvider()
        if script in wallet.scripts:
            if sign:
                found = yield from wallet.signing_provider([script], opened)
            else:
                found = wallet.solving_provider(script) or found
        if sign or script not in wallet.scripts:  # keys may stand in other scripts of the wallet
            found.merge(wallet.provider_of_keys([*_pubkeys(item, script), *found.pubkeys.values()], opened))
        inputs[-1] = limited(found, secrets=sign)
    outputs: list[SigningProvider | None] = []
    for txout in psbt.tx.txouts:
        yield
        outputs.append(wallet.solving_provider(txout_script(txout)))
    return PsbtFilling(inputs, [None if known is None else limited(known, secrets=False) for known in outputs])


def _pubkeys(item: PsbtInput, script: bytes) -> list[bytes]:
    """The public keys that an input names, in its fields or its script."""
    found = list(item.origins)
    kind, data = solve(script)
    xonly = list(item.taproot_origins)
    if kind == "witness_v1_taproot":
        xonly.append(data[0])
    return found + [prefix + key for key in xonly for prefix in (b"\x02", b"\x03")]
