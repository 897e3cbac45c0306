"""Programs made for bitcoind work with btcnode: RPC clients and an Electrum server from PyPI, curl as help shows it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import bitcointx
import pytest
from bitcointx.rpc import InvalidAddressOrKeyError, RPCCaller

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_txout
from btcnode.testing.templates import signed_tx
from tests.lib.chain_generator import ChainGenerator
from tests.lib.process import NodeProcess, free_port, wait_until

PARAMS = params_for("regtest")
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
CLIENTS = Path(__file__).parent / "clients"
NOT_BY_CURL = {"stop", "setmocktime", "setnetworkactive"}  # the others would not find the node as it was


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node with both indexes and 105 blocks."""
    with NodeProcess(tmp_path, "regtest", "--txindex", "--txospenderindex", listen=False) as node:
        node.start()
        node.rpc("generatetoaddress", 105, ADDRESS)
        yield node


def credentials(node: NodeProcess) -> tuple[str, str]:
    user, _, password = (node.net_dir / ".cookie").read_text().partition(":")
    return user, password


def url_of(node: NodeProcess) -> str:
    return f"http://{':'.join(credentials(node))}@127.0.0.1:{node.rpc_port}"


def run_client(python: Path, script: str, *arguments: str, home: Path) -> None:
    environment = {**os.environ, "HOME": str(home), "BCL_DATA_DIR": str(home)}
    command = [str(python), str(CLIENTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("ok\n")


def test_python_bitcoinrpc(node: NodeProcess, clients_python: Path, tmp_path: Path) -> None:
    run_client(clients_python, "python_bitcoinrpc.py", url_of(node), ADDRESS, home=tmp_path)


def test_bitcoin_utils(node: NodeProcess, clients_python: Path, tmp_path: Path) -> None:
    host = ("127.0.0.1", str(node.rpc_port))
    run_client(clients_python, "bitcoin_utils.py", *host, *credentials(node), home=tmp_path)


def chain_with_payment(node: NodeProcess) -> tuple[str, str, str]:
    """A generated chain on a fresh node; returns ids of a mined and a waiting payment, and the payee's script."""
    chain = ChainGenerator(PARAMS)
    for raw in chain.spread(20):
        assert node.rpc("submitblock", raw.hex()) is None
    paid = "0014" + "42" * 20
    ids = []
    for _ in range(2):
        coin = chain.take()
        tx = signed_tx([(coin.outpoint, coin.txout, coin.how)], [make_txout(coin.value - 1000, bytes.fromhex(paid))])
        ids.append(node.rpc("sendrawtransaction", tx.raw.hex()))
        if len(ids) == 1:
            node.rpc("generatetoaddress", 1, ADDRESS)
    return ids[0], ids[1], paid


def test_bitcoinlib(tmp_path: Path, clients_python: Path) -> None:
    with NodeProcess(tmp_path, "regtest", "--txindex", listen=False) as node:
        node.start()
        mined, waiting, _ = chain_with_payment(node)
        run_client(clients_python, "bitcoinlib_service.py", url_of(node), mined, waiting, home=tmp_path)


def test_python_bitcointx(node: NodeProcess) -> None:
    """It finds the cookie where bitcoind would have it."""
    conf = f"datadir={node.datadir}\nrpcport={node.rpc_port}\nrpcconnect=127.0.0.1\n"
    with bitcointx.ChainParams("bitcoin/regtest"):
        caller = RPCCaller(conf_file_contents=conf)
        assert caller.getblockcount() == 105
        best = caller.getblock(caller.getbestblockhash(), 2)
        assert best["tx"][0]["vout"][0]["value"] == Decimal(50)
        with pytest.raises(InvalidAddressOrKeyError):
            caller.getblockheader("00" * 32)


# --- programs that use a wallet


@pytest.fixture
def wallet_node(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node without blocks and with an empty wallet "w"."""
    with NodeProcess(tmp_path, "regtest", "--fallbackfee=0.0001", listen=False) as node:
        node.start()
        node.rpc("createwallet", "w")
        yield node


def test_python_bitcoinlib(wallet_node: NodeProcess, wallet_clients_python: Path, tmp_path: Path) -> None:
    url = f"{url_of(wallet_node)}/wallet/w"
    run_client(wallet_clients_python, "python_bitcoinlib_wallet.py", url, ADDRESS, home=tmp_path)


def test_a_psbt_signed_by_bdk(wallet_node: NodeProcess, wallet_clients_python: Path, tmp_path: Path) -> None:
    run_client(wallet_clients_python, "bdk_psbt.py", url_of(wallet_node), home=tmp_path)


def test_a_desktop_wallet_that_watches(wallet_node: NodeProcess, wallet_clients_python: Path, tmp_path: Path) -> None:
    run_client(wallet_clients_python, "desktop_flow.py", url_of(wallet_node), home=tmp_path)


def test_core_lightnings_bitcoind(wallet_clients_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "bitcoind").symlink_to(Path(sys.executable).parent / "btcnoded")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    run_client(wallet_clients_python, "pyln_bitcoind.py", str(tmp_path / "node"), home=tmp_path)


# --- an Electrum server


class Electrum:
    """ElectrumX beside a node, and one connection to it."""

    def __init__(self, node: NodeProcess, python: Path, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "electrumx.log"
        (folder / "electrum").mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "COIN": "Bitcoin",
            "NET": "regtest",
            "DB_ENGINE": "leveldb",
            "DB_DIRECTORY": str(folder / "electrum"),
            "DAEMON_URL": url_of(node),
            "SERVICES": f"tcp://127.0.0.1:{self.port},rpc://127.0.0.1:{free_port()}",
            "PEER_DISCOVERY": "off",
            "ALLOW_ROOT": "1",
        }
        with self.log.open("w") as log:
            command = [python, python.parent / "electrumx_server"]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._calls = 0

    def connect(self) -> None:
        def reached() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            except OSError:
                return False
            return True

        wait_until(reached, 60, "the Electrum server")
        self.lines = self.socket.makefile("r")
        assert self.call("server.version", "test", "1.4")[1] == "1.4"

    def call(self, method: str, *params: Any) -> Any:
        self._calls += 1
        request = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = json.loads(self.lines.readline())
            if answer.get("id") == self._calls:  # others are notifications
                assert "error" not in answer, answer
                return answer["result"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def test_an_electrum_server_syncs_and_answers(tmp_path: Path, clients_python: Path) -> None:
    (tmp_path / "node").mkdir()
    with NodeProcess(tmp_path / "node", "regtest", "--txindex", "--txospenderindex", listen=False) as node:
        node.start()
        mined, waiting, paid = chain_with_payment(node)
        height = node.height()
        server = Electrum(node, clients_python, tmp_path)
        try:
            server.connect()
            assert server.call("blockchain.headers.subscribe")["height"] == height
            name = hashlib.sha256(bytes.fromhex(paid)).digest()[::-1].hex()

            def known() -> bool:
                history = server.call("blockchain.scripthash.get_history", name)
                return [(item["tx_hash"], item["height"]) for item in history] == [(mined, height), (waiting, 0)]

            wait_until(known, 30, "both payments in the history")
            values = [node.rpc("getrawtransaction", txid, 1)["vout"][0]["value"] for txid in (mined, waiting)]
            satoshi = [round(value * 10**8) for value in values]
            balance = server.call("blockchain.scripthash.get_balance", name)
            assert balance == {"confirmed": satoshi[0], "unconfirmed": satoshi[1]}
            raw = server.call("blockchain.transaction.get", mined)
            assert raw == node.rpc("getrawtransaction", mined)
            branch = server.call("blockchain.transaction.get_merkle", mined, height)
            block = parse_block(bytes.fromhex(node.rpc("getblock", node.rpc("getbestblockhash"), 0)))
            assert block.txids[branch["pos"]][::-1].hex() == mined
            node.rpc("generatetoaddress", 1, ADDRESS)
            wait_until(
                lambda: server.call("blockchain.scripthash.get_balance", name)["confirmed"] == sum(satoshi),
                30,
                "the second payment in a block",
            )
        finally:
            server.close()


# --- curl


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_as_the_help_shows_it(node: NodeProcess) -> None:
    """The curl line of every example, with user and port of this node: each gets an answer to its method."""
    usages = [line for line in node.rpc("help").split("\n") if line and not line.startswith("==")]
    names = [line.split()[0] for line in usages]
    assert len(names) > 80
    lines = [
        line.removeprefix("> ")
        for name in names
        if name not in NOT_BY_CURL and not name.startswith("wait")
        for line in node.rpc("help", name).split("\n")
        if line.startswith("> curl")
    ]
    assert len(lines) > 80
    user = ":".join(credentials(node))
    script = "\n".join(
        line.replace("--user myusername", f"--silent --user {user} -w '\\n%{{http_code}}\\n'").replace(
            ":8332/", f":{node.rpc_port}/"
        )
        for line in lines
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    answers = [line for line in done.stdout.split("\n") if line]
    assert len(answers) == 2 * len(lines)
    for line, answer, status in zip(lines, answers[::2], answers[1::2], strict=True):
        assert status == "200", line
        reply = json.loads(answer)
        assert reply["id"] == "curltest" and ("result" in reply) != ("error" in reply), answer
        if "error" in reply:
            # placeholders of the help name nothing; the call itself is understood
            assert reply["error"]["code"] not in (-32601, -32600, -32700), f"{line}\n{answer}"
            assert "Internal error" not in answer, f"{line}\n{answer}"
            assert not re.match(r"\w+ .*\n\n", reply["error"]["message"]), f"{line}\n{answer}"
