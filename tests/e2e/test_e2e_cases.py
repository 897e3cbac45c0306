"""Inputs with their right answers, as they were reported: read in place from ``BTCNODE_CASES`` or ../shared/cases."""

from __future__ import annotations

import base64
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import ConfigError
from btcnode.networks.parameters import params_for
from btcnode.settings.doors import from_keywords
from btcnode.wire.messages import BlockMessage, GetData, InvItem, NotFound, Ping, Pong
from tests.lib.http_text import exchange
from tests.lib.peer import ScriptedPeer
from tests.lib.process import NodeProcess, free_port
from tests.lib.settings import loaded_by_daemon

CASES = Path(os.environ.get("BTCNODE_CASES", Path(__file__).resolve().parents[3] / "shared" / "cases"))
PROGRAMS = Path(sys.executable).parent
INVALID_AMOUNT = (-3, "Invalid amount")
COIN_TXID = "11" * 32
SPEND = f"0200000001{COIN_TXID}0000000000ffffffff010000000000000000016a00000000"  # to OP_RETURN

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases at {CASES}: set BTCNODE_CASES")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("cases"), "regtest", "--no-dns") as process:
        yield process.start()


def text_of(name: str) -> str:
    return (CASES / name).read_text()


def lines_of(name: str) -> list[str]:
    """A file's lines but for comments."""
    return [line for line in text_of(name).splitlines() if line and not line.startswith("#")]


def post(node: NodeProcess, body: str, version: str = "1.1") -> tuple[int, Any]:
    """The status and the answer of a request whose body is this text."""
    login = base64.b64encode((node.net_dir / ".cookie").read_bytes()).decode()
    head = (
        f"POST / HTTP/{version}\r\nHost: x\r\nAuthorization: Basic {login}\r\nContent-Length: {len(body.encode())}\r\n"
    )
    answer = exchange(node.rpc_port, [f"{head}Connection: close\r\n\r\n{body}".encode()], timeout=20.0)
    top, _, found = answer.data.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(found)


def test_every_file_is_tried_here() -> None:
    source = Path(__file__).read_text()
    assert [path.name for path in CASES.iterdir() if path.name not in source] == []


def amounts() -> list[str]:
    """JSON texts of what is no amount: strings, and numbers (behind which a file may have a remark)."""
    cases = json.loads(text_of("01_amount_strings.json")) if CASES.is_dir() else {}
    numbers = [text.split()[0] for text in cases.get("amounts_as_json_numbers", [])]
    return [*map(json.dumps, cases.get("amounts_as_strings", [])), *numbers]


def requests_with(amount: str) -> list[str]:
    """Every call that takes an amount of somebody, as the texts of its method and parameters, by position and name."""
    outputs = f'{{"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080": {amount}}}'
    coin = f'{{"txid": "{COIN_TXID}", "vout": 0, "scriptPubKey": "51", "amount": {amount}}}'
    calls = [
        ("createrawtransaction", f"[[], {outputs}]"),
        ("createrawtransaction", f"[[], [{outputs}]]"),
        ("createrawtransaction", f'{{"inputs": [], "outputs": [{outputs}]}}'),
        ("createpsbt", f"[[], [{outputs}]]"),
        ("signrawtransactionwithkey", f'["{SPEND}", [], [{coin}]]'),
        ("signrawtransactionwithkey", f'{{"hexstring": "{SPEND}", "privkeys": [], "prevtxs": [{coin}]}}'),
        ("testmempoolaccept", f'[["{SPEND}"], {amount}]'),
        ("testmempoolaccept", f'{{"rawtxs": ["{SPEND}"], "maxfeerate": {amount}}}'),
        ("sendrawtransaction", f'["{SPEND}", {amount}]'),
        ("sendrawtransaction", f'["{SPEND}", 0, {amount}]'),
        ("sendrawtransaction", f'{{"hexstring": "{SPEND}", "maxburnamount": {amount}}}'),
        ("submitpackage", f'[["{SPEND}"], {amount}]'),
    ]
    return [f'{{"id": 1, "method": "{method}", "params": {params}}}' for method, params in calls]


@pytest.mark.parametrize("amount", amounts())
def test_01_amounts_over_rpc(node: NodeProcess, amount: str) -> None:
    bodies = requests_with(amount)
    for body in bodies:
        status, answer = post(node, body)
        assert (status, answer["error"]["code"], answer["error"]["message"]) == (500, *INVALID_AMOUNT), body
        assert post(node, body, "1.0") == (status, answer)
    status, answers = post(node, f"[{', '.join(bodies)}]")
    assert {(answer["error"]["code"], answer["error"]["message"]) for answer in answers} == {INVALID_AMOUNT}
    assert (status, len(answers)) == (200, len(bodies))


@pytest.mark.parametrize("named", [False, True])
def test_01_amounts_through_the_client(node: NodeProcess, named: bool) -> None:
    cases = json.loads(text_of("01_amount_strings.json"))
    for amount in cases["amounts_as_strings"]:
        outputs = json.dumps({"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080": amount})
        words = ["-named", "createrawtransaction", "inputs=[]", f"outputs={outputs}"]
        done = client(node, *(words if named else ["createrawtransaction", "[]", outputs]))
        assert (done.returncode, "Invalid amount" in done.stderr) == (3, True), amount


def client(node: NodeProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "btcnode-cli"), "-regtest", f"-datadir={node.datadir}", f"-rpcport={node.rpc_port}"]
    return subprocess.run([*command, *words], capture_output=True, text=True, check=False)


def config_amounts() -> list[tuple[str, str]]:
    """Options and their wrong values."""
    if not CASES.is_dir():
        return []
    return [(name, value) for name, value in re.findall(r"^-(\w+)=(.*)$", text_of("02_config_amounts.txt"), re.M)]


@pytest.mark.parametrize(("name", "value"), config_amounts())
@pytest.mark.parametrize("option", ["minrelaytxfee", "incrementalrelayfee", "dustrelayfee", "blockmintxfee"])
def test_02_amounts_of_options(tmp_path: Path, option: str, name: str, value: str) -> None:
    assert name == "minrelaytxfee"
    refusal = f"Invalid amount for -{option}=<amount>: '{value}'"
    place = ["-regtest", f"-datadir={tmp_path}"]
    with pytest.raises(ConfigError, match=f"^{re.escape(refusal)}$"):
        loaded_by_daemon(*place, f"-{option}={value}")
    with pytest.raises(ConfigError, match=f"^{re.escape(refusal)}$"):
        from_keywords({"network": "regtest", "datadir": tmp_path, option: value})
    for file, content in (
        ("bitcoin.conf", f"{option}={value}\n"),
        ("bitcoin.conf", f"[regtest]\n{option}={value}\n"),
        ("regtest/settings.json", json.dumps({option: value})),
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(content)
        with pytest.raises(ConfigError, match=f"^{re.escape(refusal)}$"):
            loaded_by_daemon(*place)
        (tmp_path / file).unlink()


@pytest.mark.parametrize(("name", "value"), config_amounts())
@pytest.mark.parametrize("program", ["btcnoded", "btcnode start"])
def test_02_amounts_end_the_start(tmp_path: Path, program: str, name: str, value: str) -> None:
    words = [f"-{name}={value}", "-regtest", f"-datadir={tmp_path}"]
    first, *more = program.split()
    done = subprocess.run([str(PROGRAMS / first), *more, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"Error: Invalid amount for -{name}=<amount>: '{value}'\n")


def test_03_a_word_with_an_equals_sign(node: NodeProcess) -> None:
    script = text_of("03_cli_named_equals.sh").replace(
        "btcnode-cli", f"{PROGRAMS}/btcnode-cli -datadir={node.datadir} -rpcport={node.rpc_port}"
    )
    for line in [line for line in script.splitlines() if "btcnode-cli" in line]:
        variable = next(line for line in script.splitlines() if line.startswith("P="))
        done = subprocess.run(["sh", "-c", f"{variable}\n{line}"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
        assert set(json.loads(done.stdout)) & {"tx", "psbt"}


def test_05_closed_console(tmp_path: Path) -> None:
    up = 'until grep -qs "Done loading" $d/regtest/debug.log; do sleep 0.1; done'  # a busy machine takes longer
    script = text_of("05_closed_stdio.sh").replace("28999", str(free_port())).replace("sleep 6", up)
    assert up in script
    environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "rc=0\n"


def test_07_half_a_surrogate_pair(node: NodeProcess) -> None:
    for body in lines_of("07_lone_surrogates.txt"):
        for version in ("1.1", "1.0"):
            status, answer = post(node, body, version)
            assert (status, answer["error"]) == (500, {"code": -32700, "message": "Parse error"}), body
        assert post(node, f"[{body}]")[1]["error"]["code"] == -32700


def test_09_nesting(node: NodeProcess, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(CASES / "09_json_depth.py"))
    bodies = capsys.readouterr().out.splitlines()
    answers = [post(node, body) for body in bodies]
    assert [status for status, _ in answers] == [200, 200, 500, 500]
    assert [answer["error"] and answer["error"]["code"] for _, answer in answers] == [None, None, -32700, -32700]


def test_11_help_of_getblocktemplate(node: NodeProcess) -> None:
    assert node.rpc("help", "getblocktemplate").splitlines()[0] == lines_of("11_help_line.txt")[0]


def test_13_blocks_that_nobody_knows(node: NodeProcess) -> None:
    """The lines of 13_getdata_unknown_block.txt."""
    assert "block, then notfound with one entry (the tx only)" in text_of("13_getdata_unknown_block.txt")
    tip = bytes.fromhex(node.rpc("getbestblockhash"))[::-1]
    peer = ScriptedPeer.connect("127.0.0.1", node.port, params_for("regtest"))
    peer.handshake()
    transaction = InvItem(1, b"\x44" * 32)
    peer.send(GetData((InvItem(2, b"\x33" * 32), transaction, InvItem(2, tip))))
    peer.send(Ping(77))
    peer.expect(Pong)
    answers = [message for message in peer.received if isinstance(message, BlockMessage | NotFound)]
    assert [type(message) for message in answers] == [BlockMessage, NotFound]
    assert isinstance(answers[1], NotFound)
    assert list(answers[1].items) == [transaction]
