"""How messages lie in the packets of the version 2 transport (BIP324): a short id, or zero and 12 bytes of name."""

from __future__ import annotations

from collections.abc import Mapping

from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH
from btcnode.wire.framing import COMMAND_SIZE, parse_command

SHORT_IDS: tuple[str, ...] = (
    "", "addr", "block", "blocktxn", "cmpctblock", "feefilter", "filteradd", "filterclear", "filterload", "getblocks",
    "getblocktxn", "getdata", "getheaders", "headers", "inv", "mempool", "merkleblock", "notfound", "ping", "pong",
    "sendcmpct", "tx", "getcfilters", "cfilter", "getcfheaders", "cfheaders", "getcfcheckpt", "cfcheckpt", "addrv2",
    "uproof", "getuproof", "", "", "", "", "uroot", "geturoot", "feature",
)  # fmt: skip
"""Commands by the first byte of the contents; 0 announces the long form, and what is not listed means nothing.

From 29 to 36 they are BIP 183's, which are sent to those only who sent them, or a request that has one, first; 37 is
BIP434's, for peers whose version has it.
"""

MAX_MESSAGE_CONTENTS = 1 + COMMAND_SIZE + MAX_PROTOCOL_MESSAGE_LENGTH

_PREFIXES: Mapping[str, bytes] = {command: bytes((i,)) for i, command in enumerate(SHORT_IDS) if command}


def message_prefix(command: str) -> bytes:
    """What stands in front of the payload: 1 byte, or 13; raises ValueError for an impossible command."""
    prefix = _PREFIXES.get(command)
    if prefix is not None:
        return prefix
    name = command.encode("ascii")
    if not 0 < len(name) <= COMMAND_SIZE:
        raise ValueError(f"a command has 1 to {COMMAND_SIZE} characters: {command!r}")
    return b"\0" + name.ljust(COMMAND_SIZE, b"\0")


def split_contents(plain: bytes, start: int) -> tuple[str, bytes] | None:
    """``(command, payload)`` of the contents ``plain[start:]``; None when they begin with no readable command."""
    if len(plain) <= start:
        return None
    code = plain[start]
    if code:
        known = SHORT_IDS[code] if code < len(SHORT_IDS) else ""
        return (known, plain[start + 1 :]) if known else None
    end = start + 1 + COMMAND_SIZE
    if len(plain) < end:
        return None
    command = parse_command(plain[start + 1 : end])
    return None if command is None else (command, plain[end:])
