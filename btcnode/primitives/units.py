"""What the fields of records are that people are told of: beside the Python type, in ``Annotated``."""

from __future__ import annotations

from enum import Enum

from btcnode.record import record


class Unit(Enum):
    """How a value is meant, and so how it is shown."""

    UNIX_TIME = "whole seconds since 1970"
    SECONDS = "seconds, with a fraction"
    SATOSHI = "satoshi, shown as coins"
    SERVICE_BITS = "a number of 64 bits, shown as 16 hex digits"
    HEX = "bytes as hex digits"


@record
class KeyName:
    """What stands for any key of a mapping."""

    name: str
