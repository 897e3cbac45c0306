"""``btcnode-cli`` at a server that answers as it is told. ``scripts/fuzz/rpc.py`` compares bitcoin-cli at such one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from btcnode.cli import client
from tests.lib.rpc_diff.replies import After, Failed, Server, by_method, http
from tests.lib.rpc_diff.text import Raw

NETWORK: dict[str, Any] = {
    "version": 310000, "protocolversion": 70016, "subversion": "/n/", "localservicesnames": [], "networks": [],
    "localaddresses": [], "warnings": "one", "connections": 1, "relayfee": Raw("0.00000100"),
}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "getnetworkinfo": NETWORK,
    "getblockchaininfo": {"chain": "regtest", "blocks": 3, "verificationprogress": Raw("0.35")},
    "getwalletinfo": Failed({"code": -18, "message": "none"}),
    "getbalances": Failed({"code": -18, "message": "none"}),
    "listwallets": ["a", ""],
    "getpeerinfo": [],
    "getaddrmaninfo": {"all_networks": {"total": 2}},
    "getblockcount": 7,
}


@pytest.fixture
def asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """``asked(server's part, *words)``: status, output and errors."""
    with closing(Server()) as server:

        def ask(reply: Callable[[bytes], bytes], *words: str) -> tuple[int, str, str]:
            server.reply = reply
            argv = [
                "-regtest",
                f"-datadir={tmp_path}",
                f"-rpcport={server.port}",
                "-rpcuser=u",
                "-rpcpassword=p",
                *words,
            ]
            status = client._run_or_tell(argv)
            return status, *capsys.readouterr()

        yield ask


@pytest.mark.parametrize("word", ["-getinfo", "-netinfo", "-addrinfo", "getblockcount"])
def test_rpcwait_waits_for_every_kind_of_request(asked: Any, word: str) -> None:
    warming = dict.fromkeys(ANSWERS, Failed({"code": -28, "message": "Loading"}))
    status, out, err = asked(After(1, warming, ANSWERS), "-rpcwait", word)
    assert (status, err) == (0, "")
    assert out
    status, out, err = asked(by_method(warming), "-rpcwait", "-rpcwaittimeout=1", word)
    assert (status, out, err) == (1, "", "error: timeout on transient error: server in warmup\n")


@pytest.mark.parametrize(
    ("body", "word", "told"),
    [
        (b"1", "getblockcount", "JSON value of type number is not of expected type object"),
        (b"{}", "getblockcount", "expected reply to have result, error and id properties"),
        (b'{"error":"no"}', "getblockcount", "JSON value of type null is not of expected type number"),
        (b'{"error":{"code":1.5}}', "getblockcount", "JSON integer out of range"),
        (b'{"result":null}', "-getinfo", "Batch must be an array"),
        (b"[1]", "-netinfo", "Batch member must be an object"),
        (b'[{"id":5}]', "-netinfo", "Batch member id is larger than batch size"),
        (b'[{"id":0},{"id":1}]', "-netinfo", "JSON value of type null is not of expected type number"),
        (b'{"result":[]}', "-addrinfo", "JSON value of type array is not of expected type object"),
        (b'{"result":5}', "-generate", "JSON value of type number is not of expected type string"),
        (
            b'{"result":null,"error":{"code":-32601,"message":"Method not found"}}',
            "-addrinfo",
            "-addrinfo requires bitcoind v26.0 or later which supports getaddrmaninfo RPC. Please upgrade your node or"
            " use bitcoin-cli from the same version.",
        ),
    ],
)
def test_a_reply_of_another_form_is_one_line(asked: Any, body: bytes, word: str, told: str) -> None:
    assert asked(lambda _: http(body), word) == (1, "", f"error: {told}\n")


def test_errors_are_told_with_their_code(asked: Any) -> None:
    def error(code: int, **more: Any) -> Any:
        return asked(by_method({"getblockcount": Failed({"code": code, **more})}), "getblockcount")

    assert error(-5, message="no") == (5, "", "error code: -5\nerror message:\nno\n")
    assert error(-300, message="no")[0] == 300 & 0xFF
    assert error(-1) == (1, "", "error code: -1\n\n")
    assert error(0, message="none") == (0, "error code: 0\nerror message:\nnone\n", "")


def test_old_servers_have_no_netinfo(asked: Any) -> None:
    old = {**ANSWERS, "getnetworkinfo": {**NETWORK, "version": 209800}}
    told = "error: -netinfo requires bitcoind server to be running v0.21.0 and up\n"
    assert asked(by_method(old), "-netinfo") == (1, "", told)


def test_getinfo_of_what_servers_may_tell(asked: Any) -> None:
    _, out, _ = asked(by_method(ANSWERS), "-getinfo")
    assert "Verification progress: " + "\u2592" * 7 + "\u2591" * 13 + " 35.0000%\n" in out
    assert 'Balances\n           a\n           ""\n' in out  # whose balances nobody tells
    assert out.endswith("Warnings: one\n")
    beyond = {**ANSWERS, "getblockchaininfo": {"verificationprogress": Raw("-0.5")}}
    assert "Verification progress:  -50.0000%\n" in asked(by_method(beyond), "-getinfo")[1]
