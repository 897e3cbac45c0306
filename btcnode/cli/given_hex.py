"""What a command line says in hex, or which file has it."""

from __future__ import annotations

from pathlib import Path

from btcnode.errors import BtcnodeError
from btcnode.files import parse_json, read_limited

MAX_FILE = 64 << 20  # a proof of the most coins that one can be about has some 30 MB of hex


def given_bytes(text: str) -> bytes:
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
