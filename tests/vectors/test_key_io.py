"""Bitcoin Core's vectors of base58, addresses and private keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.addresses import (
    address_for_script,
    base58_decode,
    base58_encode,
    script_for_address,
    secret_decode,
    secret_encode,
)

CHAINS = ("main", "test", "testnet4", "signet", "regtest")


def load(vectors: Path, name: str) -> Any:
    return json.loads((vectors / "core" / name).read_text())


def decodes(reader: Any, text: str, params: NetworkParams) -> bool:
    try:
        reader(text, params)
    except DecodeError:
        return False
    return True


def test_base58(vectors: Path) -> None:
    rows = load(vectors, "base58_encode_decode.json")
    for raw, text in rows:
        assert base58_encode(bytes.fromhex(raw)) == text
        assert base58_decode(text) == bytes.fromhex(raw)
    assert len(rows) == 21


def test_valid(vectors: Path) -> None:
    rows = load(vectors, "key_io_valid.json")
    secrets = 0
    for text, raw, meta in rows:
        params = params_for(meta["chain"])
        if meta["isPrivkey"]:
            secrets += 1
            assert secret_decode(text, params) == (bytes.fromhex(raw), meta["isCompressed"])
            assert secret_encode(bytes.fromhex(raw), meta["isCompressed"], params) == text
            assert not any(decodes(script_for_address, text, params_for(chain)) for chain in CHAINS)
            continue
        assert script_for_address(text, params).hex() == raw
        assert address_for_script(bytes.fromhex(raw), params) == text
        assert not any(decodes(secret_decode, text, params_for(chain)) for chain in CHAINS)
        flipped = text.swapcase()
        assert decodes(script_for_address, flipped, params) == bool(meta.get("tryCaseFlip")), flipped
    assert len(rows) == 70
    assert secrets == 16


def test_invalid(vectors: Path) -> None:
    rows = load(vectors, "key_io_invalid.json")
    for (text,) in rows:
        for chain in CHAINS:
            assert not decodes(script_for_address, text, params_for(chain)), (text, chain)
            assert not decodes(secret_decode, text, params_for(chain)), (text, chain)
    assert len(rows) == 70


def test_scripts_without_address() -> None:
    params = params_for("main")
    for raw in ("", "6a", "0014" + "00" * 19, "0016" + "00" * 22, "21" + "02" * 33 + "ac", "5101ff", "6102ffff"):
        assert address_for_script(bytes.fromhex(raw), params) is None
    assert address_for_script(bytes.fromhex("51024e73"), params) == "bc1pfeessrawgf"


@pytest.mark.parametrize("text", ["", "1", "bc1", "BC1", "0", "1" * 600, "bc1ý", "bc1qqqqqq", "b" * 91])
def test_garbage(text: str) -> None:
    assert not decodes(script_for_address, text, params_for("main"))
    assert not decodes(secret_decode, text, params_for("main"))
