"""``btcnode utreexo verify``: a proof of coins, verified without a node."""

from __future__ import annotations

from btcnode.cli.given_hex import given_bytes
from btcnode.errors import BtcnodeError, DecodeError, ProofError
from btcnode.primitives.amounts import format_amount
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_script, coin_value
from btcnode.primitives.hashes import to_display
from btcnode.utreexo.coin_proof import CoinProof, ProvenCoin, decode_roots


def verified_lines(proof: str, roots: str) -> list[str]:
    """What a proof proves, in lines; both arguments are hex or the name of a file with it.

    Raises BtcnodeError when it proves nothing.
    """
    try:
        given, (after, stump) = CoinProof.decode(given_bytes(proof)), decode_roots(given_bytes(roots))
    except DecodeError as error:
        raise BtcnodeError(f"That is no proof of coins or no roots: {error}") from None
    if given.after != after:
        raise ProofError(
            f"The proof is about block {to_display(given.after)}, the roots are those after {to_display(after)}"
        )
    given.verify(stump)
    return [*map(_line, given.coins), f"unspent after block {to_display(after)}, by roots of {stump.leaves} leaves"]


def _line(coin: ProvenCoin) -> str:
    made = "mined" if coin_is_coinbase(coin.coin) else "confirmed"
    vout = int.from_bytes(coin.outpoint[32:], "little")
    script = coin_script(coin.coin).hex()
    return (
        f"{to_display(coin.outpoint[:32])}:{vout} {format_amount(coin_value(coin.coin))} BTC, {made} at height"
        f" {coin_height(coin.coin)}, script {script}"
    )
