"""A real subscriber beside a real node: blocks, transactions, replacement, reorganisation, in Core's order."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import zmq

from btcnode.networks.parameters import params_for
from btcnode.primitives.coin import make_txout
from btcnode.testing.templates import signed_tx
from tests.lib.chain_generator import ChainGenerator, Unspent
from tests.lib.process import NodeProcess, free_port, wait_until

PARAMS = params_for("regtest")
ADDRESS = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"
TOPICS = ("hashblock", "hashtx", "rawblock", "rawtx", "sequence")


class Ear:
    """A subscriber of one topic that checks the numbers."""

    def __init__(self, stack: ExitStack, address: str, topic: str) -> None:
        context = stack.enter_context(zmq.Context())
        self.socket = stack.enter_context(context.socket(zmq.SUB))
        self.socket.setsockopt(zmq.RCVTIMEO, 20_000)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self.socket.connect(address)
        self.topic = topic.encode()
        self.number: int | None = None

    def hear(self) -> bytes:
        topic, body, raw_number = self.socket.recv_multipart()
        number = int.from_bytes(raw_number, "little")
        assert topic == self.topic
        assert self.number is None or number == self.number
        self.number = number + 1
        return body

    def hears(self, count: int) -> list[str]:
        return [self.hear().hex() for _ in range(count)]

    def change(self) -> tuple[str, str, int | None]:
        body = self.hear()
        number = int.from_bytes(body[33:], "little") if len(body) == 41 else None
        assert len(body) in (33, 41)
        return body[:32].hex(), body[32:33].decode(), number


def listen(stack: ExitStack, node: NodeProcess, addresses: dict[str, str]) -> dict[str, Ear]:
    """Ears for all topics; blocks are mined until each has heard the newest."""
    ears = {topic: Ear(stack, address, topic) for topic, address in addresses.items()}

    def ready() -> bool:
        node.rpc("generatetoaddress", 1, ADDRESS)
        return all(ear.socket.poll(100) for ear in ears.values())

    wait_until(ready, 30, "the subscriptions")
    tip = node.rpc("getbestblockhash")
    last = {
        "hashblock": tip, "sequence": tip + b"C".hex(), "rawblock": node.rpc("getblock", tip, 0),
        "hashtx": (coinbase := node.rpc("getblock", tip, 2)["tx"][0])["txid"], "rawtx": coinbase["hex"],
    }  # fmt: skip
    for topic, ear in ears.items():
        while ear.hear().hex() != last[topic]:
            pass
    return ears


def pay(coin: Unspent, fee: int) -> tuple[str, str]:
    """``(txid, hex)`` of a transaction of one coin."""
    tx = signed_tx([(coin.outpoint, coin.txout, coin.how)], [make_txout(coin.value - fee, coin.how.script_pubkey)])
    return tx.txid[::-1].hex(), tx.raw.hex()


def start(stack: ExitStack, directory: Path, *options: str) -> tuple[NodeProcess, ChainGenerator]:
    """A node with some coins that the generator can spend."""
    generator = ChainGenerator(PARAMS, mix={"p2wpkh": 1})
    blocks = list(generator.spread(10))
    node = stack.enter_context(NodeProcess(directory, "regtest", *options)).start()
    for raw in blocks:
        node.rpc("submitblock", raw.hex())
    return node, generator


def test_every_topic_hears_what_happens(tmp_path: Path) -> None:
    shared, own, path = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}", f"unix:{tmp_path}/s"
    addresses = dict.fromkeys(TOPICS, shared) | {"rawblock": f"ipc://{tmp_path}/s"}
    options = [f"--zmqpub{topic}={path if topic == 'rawblock' else shared}" for topic in TOPICS]
    with ExitStack() as stack:
        node, generator = start(stack, tmp_path, *options, f"--zmqpubhashtx={own}", "--zmqpubhashtxhwm=77")
        assert node.rpc("getzmqnotifications") == [
            {"type": "pubhashblock", "address": shared, "hwm": 1000},
            {"type": "pubhashtx", "address": shared, "hwm": 77},
            {"type": "pubhashtx", "address": own, "hwm": 77},
            {"type": "pubrawblock", "address": addresses["rawblock"], "hwm": 1000},
            {"type": "pubrawtx", "address": shared, "hwm": 1000},
            {"type": "pubsequence", "address": shared, "hwm": 1000},
        ]
        ears = listen(stack, node, addresses)
        coin = generator.take()
        (first, first_raw), (second, second_raw) = pay(coin, 1000), pay(coin, 5000)

        # a payment, its replacement, the block
        for raw in (first_raw, second_raw):
            node.rpc("sendrawtransaction", raw)
        assert ears["rawtx"].hears(2) == [first_raw, second_raw] and ears["hashtx"].hears(2) == [first, second]
        changes = [ears["sequence"].change() for _ in range(3)]
        assert changes == [(first, "A", 1), (first, "R", 2), (second, "A", 3)]
        assert node.rpc("getrawmempool", False, True)["mempool_sequence"] == 4
        parent = node.rpc("getbestblockhash")
        block = node.rpc("generatetoaddress", 1, ADDRESS)[0]
        txids = node.rpc("getblock", block)["tx"]
        assert txids[1:] == [second] and ears["hashtx"].hears(2) == txids
        assert ears["rawtx"].hears(2)[1] == second_raw
        assert ears["hashblock"].hears(1) == [block]
        assert ears["rawblock"].hears(1) == [node.rpc("getblock", block, 0)]
        assert ears["sequence"].change() == (block, "C", None)
        assert node.rpc("getrawmempool", False, True)["mempool_sequence"] == 5  # the block has taken number 4

        # another block in its place: the payment returns before the new block is told
        node.rpc("invalidateblock", block)
        assert node.rpc("getrawmempool") == [second]  # at once
        assert [ears["sequence"].change() for _ in range(2)] == [(block, "D", None), (second, "A", 5)]
        assert ears["hashtx"].hears(3) == [*txids, second]
        assert node.rpc("getbestblockhash") == parent
        new = node.rpc("generateblock", ADDRESS, [])["hash"]
        assert ears["sequence"].change() == (new, "C", None)
        assert ears["hashblock"].hears(1) == [new]
        assert ears["hashtx"].hears(1) == node.rpc("getblock", new)["tx"]

        # a block with the replaced payment drives the pool's one out, and that is told first
        mined = node.rpc("generateblock", ADDRESS, [first_raw])["hash"]
        changes = [ears["sequence"].change() for _ in range(2)]
        assert changes == [(second, "R", 6), (mined, "C", None)]
        assert node.stop() == 0


def test_a_reorganisation_tells_one_tip(tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    topics = ("hashblock", "hashtx", "sequence")
    with ExitStack() as stack:
        node, generator = start(stack, tmp_path / "one", *(f"--zmqpub{topic}={address}" for topic in topics))
        ears = listen(stack, node, dict.fromkeys(topics, address))
        other = stack.enter_context(NodeProcess(tmp_path / "two")).start()
        for height in range(1, node.height() + 1):
            other.rpc("submitblock", node.rpc("getblock", node.rpc("getblockhash", height), 0))
        payment, raw = pay(generator.take(), 1000)
        node.rpc("sendrawtransaction", raw)
        old = node.rpc("generatetoaddress", 1, ADDRESS)[0]
        new = other.rpc("generatetoaddress", 2, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        node.rpc("addnode", other.address, "onetry")
        wait_until(lambda: node.rpc("getbestblockhash") == new[1], 30, "the reorganisation")

        changes = [ears["sequence"].change() for _ in range(6)]
        assert changes == [
            (payment, "A", 1), (old, "C", None), (old, "D", None), (payment, "A", 3), (new[0], "C", None),
            (new[1], "C", None),
        ]  # fmt: skip
        assert ears["hashblock"].hears(2) == [old, new[1]]
        old_txs = node.rpc("getblock", old)["tx"]
        coinbases = [node.rpc("getblock", block)["tx"][0] for block in new]
        assert ears["hashtx"].hears(8) == [payment, *old_txs, *old_txs, payment, *coinbases]


def test_a_bad_address_does_not_take_the_node_down(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", "--zmqpubrawtx", "foo", "--zmqpubhashtx", "bar") as node:
        node.start()
        assert node.rpc("getzmqnotifications") == []
        assert "an address cannot be used" in node.output()
        assert node.stop() == 0
