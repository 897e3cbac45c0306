"""The address book on disk: ``peers.dat``, written as a whole and put in place by a rename."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from random import Random

from btcnode.errors import DecodeError
from btcnode.protocol.addrman import AddressBook

FILE_NAME = "peers.dat"

log = logging.getLogger("btcnode.addrman")


def load_address_book(directory: Path, rng: Random) -> AddressBook:
    """The stored address book; a new one when there is none, or (said in the log) when it is damaged."""
    path = directory / FILE_NAME
    try:
        return AddressBook.deserialize(path.read_bytes(), rng)
    except FileNotFoundError:
        return AddressBook(rng)
    except (OSError, DecodeError) as error:
        log.warning("cannot use %s (%s): starting with an empty address book", path, error)
        return AddressBook(rng)


def save_address_book(directory: Path, data: bytes) -> None:
    """Write the serialised book; a failure costs nothing but the book and is logged."""
    path = directory / FILE_NAME
    temporary = path.with_suffix(".new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        log.warning("cannot save the address book to %s: %s", path, error)
