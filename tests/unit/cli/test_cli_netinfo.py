"""What ``btcnode-cli`` makes of bitcoin.conf, and its table of peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from btcnode.cli.arguments import named_params
from btcnode.cli.client import Caller, CliError, run
from btcnode.cli.netinfo import dashboard as dashboard_of
from btcnode.cli.netinfo import parse_level
from btcnode.cli.reply import Reply
from btcnode.rpc.errors import RpcError
from btcnode.rpc.jsonvalue import decode_kept, encode

PEER: dict[str, Any] = {
    "id": 3, "addr": "192.0.2.7:8333", "network": "ipv4", "servicesnames": ["NETWORK", "WITNESS", "P2P_V2"],
    "inbound": False, "connection_type": "manual", "conntime": 0, "lastsend": 0, "lastrecv": 0, "last_transaction": 0,
    "last_block": 0, "minping": 0.0125, "version": 70016, "subver": "/x/", "bip152_hb_to": True,
    "bip152_hb_from": False, "transport_protocol_type": "v2",
}  # fmt: skip
NETWORK: dict[str, Any] = {
    "protocolversion": 70016, "subversion": "/n/", "localservicesnames": ["NETWORK", "NETWORK_LIMITED"],
    "networks": [{"name": "ipv4", "reachable": True}, {"name": "onion", "reachable": False}],
    "localaddresses": [{"address": "192.0.2.1", "port": 8333, "score": 1}],
}  # fmt: skip


def dashboard(peers: list[dict[str, Any]], network: dict[str, Any], chain: str, level: int, outbound: bool) -> str:
    """The dashboard of what a server tells."""
    told, of_network = (Reply(decode_kept(encode(part))) for part in (peers, network))
    return dashboard_of(told, of_network, chain, level, outbound)


def test_counts_without_a_level() -> None:
    lines = dashboard([PEER, {**PEER, "inbound": True}], NETWORK, "regtest", 0, False).splitlines()
    assert lines[0].endswith(" regtest - server 70016/n/")
    assert lines[2:6] == [
        "         ipv4   total   block  manual",
        "in          1       1",
        "out         1       1       0       2",
        "total       2       2",
    ]
    assert "Local services: network, network limited" in lines
    assert lines[-1] == "192.0.2.1     port   8333    score      1"


def test_levels_add_columns() -> None:
    text = dashboard([PEER], NETWORK, "main", 4, False)
    assert "- services nl\n" in text
    row = next(line for line in text.splitlines() if line.startswith("out "))
    assert row.startswith("out manual  ipv4    nw2  2     13")
    assert row.endswith("192.0.2.7:8333 70016/x/")
    assert "192.0.2.7" not in dashboard([PEER], NETWORK, "main", 1, False)
    assert "out manual" in dashboard([PEER, {**PEER, "inbound": True}], NETWORK, "main", 1, True)


def test_level_arguments() -> None:
    assert parse_level([]) == (0, False)
    assert parse_level(["9", "o"]) == (4, True)
    for words in (["x"], ["256"], ["0", "o"], ["1", "in"]):
        with pytest.raises(ValueError, match="invalid -netinfo"):
            parse_level(words)


def test_configuration_file_completes_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "bitcoin.conf").write_text("regtest=1\nincludeconf=more.conf\n[regtest]\nrpcport=5\nrpcuser=a\n")
    (tmp_path / "more.conf").write_text("rpcpassword=b\n")
    caller = Caller({"datadir": str(tmp_path)})
    assert (caller.address, caller.credentials()) == (("127.0.0.1", 5), ("a", "b", True))
    assert Caller({"datadir": str(tmp_path), "rpcport": "6"}).address[1] == 6
    with pytest.raises(CliError, match="Invalid combination"):
        Caller({"datadir": str(tmp_path), "chain": "signet"})
    with pytest.raises(CliError, match="could not be opened"):
        Caller({"datadir": str(tmp_path), "conf": "none.conf"})


def test_a_free_port_is_the_one_that_the_node_tells(tmp_path: Path) -> None:
    (tmp_path / "bitcoin.conf").write_text("regtest=1\n[regtest]\nrpcport=0\n")
    with pytest.raises(CliError, match="Invalid port provided in -rpcport: 0"):
        Caller({"datadir": str(tmp_path)}).check_address()
    (tmp_path / "regtest").mkdir()
    (tmp_path / "regtest" / "ready.json").write_text('{"rpc": [{"host": "127.0.0.1", "port": 4321}]}')
    assert Caller({"datadir": str(tmp_path)}).address[1] == 4321
    with pytest.raises(CliError, match="Invalid port provided in -rpcport: 0"):  # as bitcoin-cli says of a word
        Caller({"datadir": str(tmp_path), "rpcport": "0"}).check_address()
    with pytest.raises(CliError, match="Invalid port provided in -rpcport: 0"):  # of another machine it says nothing
        Caller({"datadir": str(tmp_path), "rpcconnect": "10.0.0.1"}).check_address()


def test_words_with_an_equals_sign() -> None:
    assert named_params("echojson", ['["a=b"]', "7"]) == {"args": [["a=b"], decode_kept("7")]}
    with pytest.raises(RpcError, match="args specified multiple times"):
        named_params("echo", ["args=[0]", "4"])


@pytest.mark.parametrize(
    ("method", "words", "params"),
    [
        ("sendtoaddress", ["addr", "1", "a=b", "c=d"], {"args": ["addr", 1, "a=b", "c=d"]}),
        ("sendmany", ["", '{"x": 1}', "6", "rent=paid"], {"args": ["", {"x": 1}, 6, "rent=paid"]}),
        ("listtransactions", ["a=b", "5"], {"args": ["a=b", 5]}),
        ("listsinceblock", ["00", "label=a=b"], {"args": ["00"], "label": "a=b"}),
        ("getreceivedbylabel", ["a=b"], {"args": ["a=b"]}),
        ("verifymessage", ["addr", "sig=", "m=n"], {"args": ["addr", "sig=", "m=n"]}),
        ("signmessage", ["addr", "a=b"], {"args": ["addr", "a=b"]}),
        ("signmessage", ["args=x", "message=y"], {"args": "x", "message": "y"}),  # no address holds "="
        ("signmessagewithprivkey", ["args=x", "message=y"], {"args": "x", "message": "y"}),
        ("verifymessage", ["x=y"], {"x": "y"}),
        ("setlabel", ["x=y"], {"x": "y"}),
        ("exportasmap", ["x=y"], {"x": "y"}),
    ],
)
def test_which_texts_may_hold_an_equals_sign(method: str, words: list[str], params: dict[str, Any]) -> None:
    found = named_params(method, words)
    assert json.loads(encode(found)) == params


def test_no_wallet_to_unlock() -> None:
    with pytest.raises(CliError, match="-stdinwalletpassphrase is only applicable"):
        run(["-stdinwalletpassphrase", "getblockcount"])
