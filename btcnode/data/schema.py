"""The tables of a chain: columns, types, units, order. docs/data.md explains them to people.

Hashes are 32 bytes in the order in which people write them, so that their hex is what an explorer shows. Amounts are
satoshi. Rows are sorted by the columns that ``ORDER`` names. ``VERSION`` changes whenever any of this does.
"""

from __future__ import annotations

import pyarrow as pa

VERSION = 1

SCRIPT_TYPES = (
    "nonstandard",
    "pubkey",
    "pubkeyhash",
    "scripthash",
    "multisig",
    "nulldata",
    "witness_v0_keyhash",
    "witness_v0_scripthash",
    "witness_v1_taproot",
    "anchor",
    "witness_unknown",
)
"""Core's names, by the number that stands for each in a batch."""

TYPE_NUMBERS = {name: number for number, name in enumerate(SCRIPT_TYPES)}

HASH = pa.binary(32)
KIND = pa.dictionary(pa.int8(), pa.string())
MOMENT = pa.timestamp("ms", tz="UTC")  # Parquet has no seconds

_BLOCKS = (
    ("height", pa.int32(), False),
    ("hash", HASH, False),
    ("version", pa.int32(), False),
    ("prev_hash", HASH, False),
    ("merkle_root", HASH, False),
    ("time", MOMENT, False),
    ("median_time", MOMENT, False),
    ("bits", pa.uint32(), False),
    ("nonce", pa.uint32(), False),
    ("size", pa.int32(), False),
    ("weight", pa.int32(), False),
    ("tx_count", pa.int32(), False),
    ("input_count", pa.int32(), False),
    ("output_count", pa.int32(), False),
    ("subsidy", pa.int64(), False),
    ("fees", pa.int64(), True),
)
_TRANSACTIONS = (
    ("height", pa.int32(), False),
    ("tx", pa.int32(), False),
    ("txid", HASH, False),
    ("wtxid", HASH, False),
    ("version", pa.uint32(), False),
    ("lock_time", pa.uint32(), False),
    ("size", pa.int32(), False),
    ("weight", pa.int32(), False),
    ("input_count", pa.int32(), False),
    ("output_count", pa.int32(), False),
    ("value_out", pa.int64(), False),
    ("fee", pa.int64(), True),
)
_INPUTS = (
    ("height", pa.int32(), False),
    ("tx", pa.int32(), False),
    ("input", pa.int32(), False),
    ("prev_txid", HASH, False),
    ("prev_output", pa.uint32(), False),
    ("sequence", pa.uint32(), False),
    ("script_sig", pa.binary(), False),
    ("witness", pa.list_(pa.binary()), False),
)
_PREVOUTS = (
    ("prev_height", pa.int32(), True),
    ("prev_coinbase", pa.bool_(), True),
    ("prev_value", pa.int64(), True),
    ("prev_type", KIND, True),
    ("prev_script", pa.binary(), True),
)
_OUTPUTS = (
    ("height", pa.int32(), False),
    ("tx", pa.int32(), False),
    ("output", pa.int32(), False),
    ("txid", HASH, False),
    ("value", pa.int64(), False),
    ("type", KIND, False),
    ("script", pa.binary(), False),
)
_TABLES = {"blocks": _BLOCKS, "transactions": _TRANSACTIONS, "inputs": _INPUTS, "outputs": _OUTPUTS}

TABLES = tuple(_TABLES)
ORDER = {
    "blocks": ("height",),
    "transactions": ("height", "tx"),
    "inputs": ("height", "tx", "input"),
    "outputs": ("height", "tx", "output"),
}
DICTIONARIES = {
    "blocks": ["version", "bits", "subsidy"],
    "transactions": ["height", "version", "lock_time", "input_count", "output_count"],
    "inputs": ["height", "tx", "sequence", "prev_height", "prev_type"],
    "outputs": ["height", "tx", "txid", "type"],
}
"""Columns that files hold with a dictionary of their values; in the others values seldom come again."""


def schema_of(table: str, *, with_prevouts: bool) -> pa.Schema:
    """The columns of a table; those about spent outputs only ``with_prevouts``."""
    columns = _TABLES[table] + (_PREVOUTS if table == "inputs" and with_prevouts else ())
    return pa.schema([pa.field(name, kind, nullable=empty) for name, kind, empty in columns])
