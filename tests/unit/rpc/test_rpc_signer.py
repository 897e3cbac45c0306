"""The external signer: what its command may answer, and what is made of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from btcnode.rpc.errors import RpcError
from btcnode.rpc.signer import SignerJson, enumerate_signers


def ask(tmp_path: Path, code: str) -> list[SignerJson]:
    script = tmp_path / "a signer.py"
    script.write_text(f"import sys\nassert sys.argv[1:] == ['enumerate']\n{code}\n")
    return asyncio.run(enumerate_signers(f"{sys.executable} '{script}'"))


def test_devices_with_their_names_each_once(tmp_path: Path) -> None:
    answer = '[{"fingerprint": "00000001", "model": "a"}, {"fingerprint": "02"}, {"fingerprint": "00000001"}]'
    assert ask(tmp_path, f"print('{answer}')") == [
        {"fingerprint": "00000001", "name": "a"},
        {"fingerprint": "02", "name": ""},
    ]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("sys.exit('no device')", "RunCommandParseJSON error: process.* returned 1: no device"),
        ("print('what')", "Unable to parse JSON: what"),
        ("print('{}')", "invalid response, expected array of signers"),
        ("print('[{}]')", "invalid response, missing signer fingerprint"),
        ("print('[3]')", "invalid response, missing signer fingerprint"),
        ('print(\'[{"error": "locked"}]\')', "error: locked"),
        ("print('[{\"error\": 1}]')", "' error$"),
    ],
)
def test_failures_are_told(tmp_path: Path, code: str, problem: str) -> None:
    with pytest.raises(RpcError, match=problem):
        ask(tmp_path, code)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("", "restart bitcoind with -signer"),
        ("/nowhere/at/all", "execve failed: No such file"),
        ("'", "cannot be split"),
    ],
)
def test_without_a_command_that_runs(command: str, problem: str) -> None:
    with pytest.raises(RpcError, match=problem):
        asyncio.run(enumerate_signers(command))
