"""``btcnode utreexo verify``: a proof of coins, verified without a node."""

from __future__ import annotations

from pathlib import Path

from btcnode.errors import BtcnodeError, DecodeError, ProofError
from btcnode.files import parse_json, read_limited
from btcnode.primitives.amounts import format_amount
from btcnode.primitives.coin import coin_height, coin_is_coinbase, coin_script, coin_value
from btcnode.primitives.hashes import to_display
from btcnode.utreexo.coin_proof import CoinProof, ProvenCoin, decode_roots

MAX_FILE = 64 << 20  # a proof of the most coins that one can be about has some 30 MB of hex


def verified_lines(proof: str, roots: str) -> list[str]:
    """What a proof proves, in lines; both arguments are hex or the name of a file with it.

    Raises BtcnodeError when it proves nothing.
    """
    try:
        given, (after, stump) = CoinProof.decode(_bytes_of(proof)), decode_roots(_bytes_of(roots))
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


def _bytes_of(text: str) -> bytes:
    """Hex, or what a file has of it, also as the "hex" of an answer of the node; raises BtcnodeError."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        found = read_limited(Path(text), MAX_FILE)
        if found.lstrip()[:1] == b"{":
            answer = parse_json(found)
            return bytes.fromhex(answer["hex"])
        return bytes.fromhex(found.decode("ascii").strip().strip('"'))
    except (KeyError, TypeError):
        raise BtcnodeError(f'{text[:100]} has an object without "hex"') from None
    except OSError as error:
        raise BtcnodeError(f"Cannot read {text[:100]}: {error.strerror}, and it is no hex") from None
    except ValueError:
        raise BtcnodeError(f"{text[:100]} has no hex in it") from None
