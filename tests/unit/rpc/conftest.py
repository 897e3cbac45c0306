"""A node over real regtest blocks, without files, threads or peers, and a server over it."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from btcnode.chain.header_tree import HeaderTree
from btcnode.config import NodeConfig
from btcnode.consensus.deployments import VersionBits
from btcnode.errors import RuleViolation, StorageError
from btcnode.mempool.fee_estimator import FeeEstimator
from btcnode.mempool.pool import Mempool
from btcnode.mining.templates import TemplateMaker
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_prefix, coin_script
from btcnode.primitives.tx import NULL_OUTPOINT
from btcnode.protocol.connections.bans import Ban, BanList
from btcnode.protocol.serving.upload_budget import UploadBudget
from btcnode.protocol.transactions.orphanage import OrphanInfo
from btcnode.protocol.transactions.private_broadcast import PrivateInfo
from btcnode.rpc.methods import make_table
from btcnode.rpc.server import RpcServer
from btcnode.services.assumed_chain import ChainPart
from btcnode.services.chain import BlockStatus, CoinScan, FoundCoins, UtxoStats
from btcnode.services.index_builder import IndexState
from btcnode.services.peers import AddedNode, LocalAddress, NetworkState, PeerInfo
from btcnode.wire.netaddr import NetAddress
from btcnode.wire.subnet import SubNet

START = 1_700_000_000


class FakeNode:
    """``NodeApi`` in memory: it believes every block it is given."""

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.ban_list = BanList()
        self.params = params_for(config.network)
        self.tree = HeaderTree(self.params)
        self.tree.receive_block(0, 1, 0, 0)
        self.version_bits = VersionBits(self.params, self.tree)
        self.raw: dict[int, bytes] = {0: self.params.genesis_block}
        self.undo: dict[int, list[list[bytes]]] = {}
        self.coins: dict[bytes, bytes] = {}
        self.invalid: set[int] = set()
        self.scripts_valid: set[int] = {0}
        self.active_tip = 0
        self.added: dict[str, AddedNode] = {}
        self.tried: list[str] = []
        self.connected = [
            PeerInfo(
                id=3, addr="192.0.2.1:18444", network="ipv4", services=0x409, inbound=False, conntime=START,
                connection_type="manual", version=70016, subver="/peer:1/", pingtime=0.25, minfeefilter=100,
                inflight=[7, 9], bytessent_per_msg={"version": 127, "ping": 32},
            )
        ]  # fmt: skip
        self.pings = 0
        self.clock = START
        self.warmup: str | None = None
        self.stopped = threading.Event()
        self.categories = dict.fromkeys(("net", "rpc", "http"), False)
        self.tip_waiters: list[asyncio.Event] = []
        self.net_active = True
        self.mempool = Mempool()
        self.mempool_loaded = True
        self.template_maker = TemplateMaker(self.params)
        self.fee_estimator: FeeEstimator | None = FeeEstimator()
        self.filter_index = self.tx_index = self.spender_index = self.coinstats_index = None
        self.precious: list[int] = []
        self.coin_scan = CoinScan()
        self.block_scan = CoinScan()
        self.scan_gate: asyncio.Event | None = None
        self.verified: list[tuple[int, int]] = []
        self.orphan_list: list[OrphanInfo] = []
        self.private: list[PrivateInfo] = []
        self.forwarded = self.saving_forwarded = 0

    async def check_proposal(self, block: ParsedBlock) -> RuleViolation | None:
        coinbases = [n for n in range(1, block.n_tx) if block.tx(n).prevouts == [NULL_OUTPOINT]]
        return RuleViolation("bad-cb-multiple", "more than one coinbase") if coinbases else None

    def index_states(self) -> list[IndexState]:
        return []

    def tip(self) -> int:
        return self.active_tip

    def best_header(self) -> int:
        return max(range(len(self.tree)), key=self.tree.chainwork)

    def leaves(self) -> list[int]:
        return self.tree.tips()

    def chain_parts(self) -> list[ChainPart]:
        return [ChainPart(self.active_tip, 450 << 20, None, True)]

    def block_status(self, index: int) -> BlockStatus:
        failed, at = False, index
        while at >= 0:
            failed |= at in self.invalid
            at = self.tree.prev(at)
        columns = self.tree.columns
        return BlockStatus(
            index in self.raw, index in self.undo, index in self.scripts_valid, failed,
            columns.n_tx[index], columns.chain_tx[index],
        )  # fmt: skip

    def verification_progress(self, index: int) -> float:
        return 0.5

    def is_initial_block_download(self) -> bool:
        return True

    def size_on_disk(self) -> int:
        return sum(map(len, self.raw.values()))

    def warnings(self) -> list[str]:
        return ["This is a test"]

    async def read_block(self, index: int) -> bytes:
        await asyncio.sleep(0)
        if index not in self.raw:
            raise StorageError("no such block")
        return self.raw[index]

    async def read_undo(self, index: int) -> list[list[bytes]]:
        return self.undo[index]

    async def get_coin(self, outpoint: bytes) -> bytes | None:
        return self.coins.get(outpoint)

    async def utxo_stats(self, hash_type: str) -> UtxoStats:
        total = sum(int.from_bytes(coin[4:12], "little") for coin in self.coins.values())
        digest = None if hash_type == "none" else bytes(range(32))
        tip = self.active_tip
        return UtxoStats(self.tree.height(tip), self.tree.hash(tip), digest, len(self.coins), 1, total, 75, 1000)

    async def find_coins(self, scripts: Any, scan: CoinScan) -> tuple[int, FoundCoins]:
        if self.scan_gate is not None:
            await self.scan_gate.wait()
        found = [(outpoint, coin) for outpoint, coin in sorted(self.coins.items()) if coin_script(coin) in scripts]
        return self.active_tip, FoundCoins(not scan.aborted, len(self.coins), found)

    async def find_coin(self, txid: bytes) -> bytes | None:
        return next((coin for outpoint, coin in sorted(self.coins.items()) if outpoint[:32] == txid), None)

    async def verify_chain(self, blocks: int, level: int) -> bool:
        self.verified.append((blocks, level))
        return True

    def orphans(self) -> list[OrphanInfo]:
        return self.orphan_list

    def private_broadcasts(self) -> list[PrivateInfo]:
        return self.private

    def abort_private_broadcast(self, tx_hash: bytes) -> list[Any]:
        found = [info for info in self.private if tx_hash in (info.tx.txid, info.tx.wtxid)]
        self.private = [info for info in self.private if info not in found]
        return [info.tx for info in found]

    def fetch_block(self, peer_id: int, index: int) -> str | None:
        return None if any(peer.id == peer_id for peer in self.connected) else "Peer does not exist"

    def forward_saving(self, seconds: int) -> None:
        self.saving_forwarded = seconds

    def forward_timers(self, seconds: int) -> None:
        self.forwarded += seconds

    async def submit_block(self, raw: bytes) -> str | None:
        block = parse_block(raw)
        known = self.tree.find(block.hash)
        if known in self.raw:
            return "duplicate"
        try:
            index, _ = self.tree.add(raw[:80], self.clock + 7200)
        except RuleViolation as error:
            return error.code
        self.raw[index] = raw
        height = self.tree.height(index)
        self.tree.receive_block(index, block.n_tx, 0, 0)
        if self.tree.chainwork(index) <= self.tree.chainwork(self.active_tip):
            return "inconclusive"
        self.undo[index] = [[] for _ in range(block.n_tx - 1)]
        self.scripts_valid.add(index)
        for i in range(block.n_tx):
            for n, txout in enumerate(block.tx(i).txouts):
                self.coins[block.txids[i] + n.to_bytes(4, "little")] = coin_prefix(height, i == 0) + txout
        self.set_tip(index)
        return None

    def set_tip(self, index: int) -> None:
        self.active_tip = index
        for event in self.tip_waiters:
            event.set()

    def submit_header(self, raw: bytes) -> None:
        self.tree.add(raw, self.clock + 7200)

    async def invalidate_block(self, index: int) -> None:
        self.invalid.add(index)
        self.set_tip(self.tree.prev(index))

    async def reconsider_block(self, index: int) -> None:
        self.invalid.discard(index)
        self.set_tip(index)

    async def precious_block(self, index: int) -> None:
        self.precious.append(index)

    async def wait_tip_changed(self, current: int, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self.active_tip == current:
                    event = asyncio.Event()
                    self.tip_waiters.append(event)
                    await event.wait()
        except TimeoutError:
            return

    def peers(self) -> list[PeerInfo]:
        return self.connected

    def network_state(self) -> NetworkState:
        return NetworkState(
            70016, "/btcnode:0.1.0/", 0x409, False, 0, self.net_active, 0, 1, {"ipv4": True, "ipv6": True},
            [LocalAddress("192.0.2.7", 18444, 1)],
        )  # fmt: skip

    def net_totals(self) -> tuple[int, int]:
        return 11, 22

    def added_nodes(self) -> list[AddedNode]:
        return list(self.added.values())

    def add_node(self, address: str, v2: bool | None = None) -> bool:
        if address in self.added:
            return False
        self.added[address] = AddedNode(address, "192.0.2.9:18444" if address.startswith("up") else None)
        return True

    def remove_node(self, address: str) -> bool:
        return self.added.pop(address, None) is not None

    async def try_node(self, address: str, v2: bool | None = None) -> None:
        self.tried.append(address)

    def disconnect_address(self, address: str) -> bool:
        return any(peer.addr == address for peer in self.connected)

    def disconnect_id(self, peer_id: int) -> bool:
        return any(peer.id == peer_id for peer in self.connected)

    def upload_budget(self) -> UploadBudget:
        return UploadBudget(0)

    def peer_scores(self) -> dict[int, dict[str, Any]]:
        figures = dict.fromkeys(("service", "value", "fault", "useful", "wasted", "failed", "violations"), 0.5)
        return {3: {"score": 61.5, "state": "stable", "standing": "good", **figures}}

    def score_weights(self) -> tuple[float, ...]:
        return 0.4, 0.35, -0.25

    def ban(self, subnet: SubNet, seconds: int, absolute: bool) -> None:
        until = seconds if absolute else self.now() + (seconds or 86400)
        self.ban_list.add(subnet, self.now(), until)

    def unban(self, subnet: SubNet) -> bool:
        return self.ban_list.remove(subnet)

    def clear_bans(self) -> None:
        self.ban_list.clear()

    def is_banned(self, subnet: SubNet, *, exactly: bool) -> bool:
        if exactly:
            return self.ban_list.has(subnet, self.now())
        return self.ban_list.covers(NetAddress(subnet.network, subnet.raw, 0), self.now())

    def bans(self) -> list[tuple[SubNet, Ban]]:
        return self.ban_list.all()

    async def open_connection(self, address: str, kind: str, v2: bool) -> bool:
        return kind != "feeler"

    def send_raw(self, peer_id: int, command: str, payload: bytes) -> bool:
        return peer_id == 7

    def ping_peers(self) -> None:
        self.pings += 1

    def set_network_active(self, active: bool) -> None:
        self.net_active = active

    def now(self) -> int:
        return self.clock

    def set_mock_time(self, timestamp: int) -> None:
        self.clock = timestamp or START

    def uptime(self) -> int:
        return 5

    def warmup_status(self) -> str | None:
        return self.warmup

    def request_stop(self) -> None:
        self.stopped.set()

    def log_categories(self) -> dict[str, bool]:
        return self.categories

    def set_log_category(self, category: str, enabled: bool) -> None:
        self.categories[category] = enabled

    def log_path(self) -> str:
        return "/var/log/debug.log"


_OLD_NAMES = {
    "connected": "peers", "totals": "net_totals", "scores": "peer_scores", "ping": "ping_peers",
    "transactions": "tx_index", "spenders": "spender_index", "filters": "filter_index",
    "coinstats": "coinstats_index", "states": "index_states", "sample": "node_addresses", "add": "add_address",
    "counts": "address_counts", "table": "address_table", "submit": "submit_transaction", "save": "save_mempool",
    "import_file": "import_mempool", "loaded": "mempool_loaded", "machine": "sync_machine", "report": "sync_report",
    "endpoints": "notification_endpoints", "write": "write_snapshot", "load": "load_snapshot",
    "set_mock": "set_mock_time", "forward": "forward_saving", "estimator": "fee_estimator", "status": "warmup",
}  # fmt: skip


class FakePart:
    """One part of the fake under the names of the real one."""

    def __init__(self, node: FakeNode) -> None:
        object.__setattr__(self, "_node", node)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, _OLD_NAMES.get(name, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._node, _OLD_NAMES.get(name, name), value)


class FakeParts:
    """The fake as a bundle of parts."""

    def __init__(self, node: FakeNode) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        if name in ("mempool", "config", "params"):
            return getattr(self._node, name)
        if name == "templates":
            return self._node.template_maker
        if name == "fees" and self._node.fee_estimator is None:
            return None
        return FakePart(self._node)


class Running:
    """A server in a thread of its own, and a client that speaks HTTP without any help from the package."""

    def __init__(self, config: NodeConfig) -> None:
        self.node = FakeNode(config)
        self.config = config
        self.loop = asyncio.new_event_loop()
        self.table = make_table(FakePart(self.node), check_results=True)  # type: ignore[arg-type]
        self.parts = cast(Any, FakeParts(self.node))
        self.table.open(self.parts)
        self.server = RpcServer(config, self.table, 18443)
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.do(self.server.start())
        self.port = self.server.addresses[0][1]

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def call_soon(self, function: Any, *args: Any) -> None:
        self.loop.call_soon_threadsafe(function, *args)

    def stop(self) -> None:
        self.do(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    @property
    def authorization(self) -> str:
        return "Basic " + base64.b64encode(self.config.cookie_path.read_bytes()).decode()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def post(self, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any, http.client.HTTPResponse]:
        """``(status, parsed body or None, response)``."""
        connection = self.connect()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if headers is None:
            headers = {"Authorization": self.authorization}
        connection.request("POST", "/", data, headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        is_json = response.headers.get("Content-Type") == "application/json"
        return response.status, json.loads(text) if is_json and text else text, response

    def call(self, method: str, *params: Any) -> Any:
        """A result, or the error object."""
        _, reply, _ = self.post({"id": 1, "method": method, "params": list(params)})
        return reply["error"] or reply["result"]


def regtest_config(tmp_path: Path, **options: Any) -> NodeConfig:
    return NodeConfig(network="regtest", datadir=tmp_path, rpcport=0, **options)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(regtest_config(tmp_path))
    yield server
    server.stop()


@pytest.fixture
def run_server(tmp_path: Path) -> Iterator[Any]:
    """Start servers with options of the test's choice."""
    started: list[Running] = []

    def start(**options: Any) -> Running:
        started.append(Running(regtest_config(tmp_path, **options)))
        return started[-1]

    yield start
    for server in started:
        server.stop()
