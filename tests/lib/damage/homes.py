"""The nodes that are damaged: one with every index, a pruned one, two with a UTXO set, to be loaded and loaded, one
that syncs with hints, and a process with the files that only a process has.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from btcnode.primitives.hashes import to_display
from btcnode.protocol.addresses.address_file import encode_anchors
from btcnode.rpc.jsonvalue import encode
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress
from tests.lib.asmap_maker import random_map
from tests.lib.crashes.world import make_set
from tests.lib.damage.daemon import ASMAP, DaemonNode
from tests.lib.hints import pack_hints, reference_hints
from tests.lib.mini_chain import MiniChain, spend
from tests.lib.node_parts import NodeLab, regtest_config

SECONDS = 80.0  # that a node may take for its indexes or a background chain, on a busy machine
PRUNED = 150
SET_HEIGHT = 112
INDEXES = {
    "txindex": True,
    "coinstatsindex": True,
    "blockfilterindex": True,
    "txospenderindex": True,
    "utreexoindex": True,
}
PRUNES = {"fastprune": True, "prune": 1, "coinstatsindex": True, "blockfilterindex": True}
HINTS_HEIGHT = 118
UNREAD = {"output.log"}
OF_PROCESS = (
    "settings.json", ".cookie", "ready.json", ".lock", ".fault", ".tip", "blocks/.lock", "debug.log", "bitcoind.pid",
)  # fmt: skip
SMALL = ("mempool.dat", "banlist.json")  # what they hold may be lost, when that is said

AnyNode: TypeAlias = NodeLab | DaemonNode
Act = Callable[[AnyNode], None]


@dataclass(frozen=True)
class Question:
    """A method with what it is asked; ``file``: the small file that the answer comes from."""

    method: str
    params: Sequence[Any] = ()
    file: str = ""


def answer(node: AnyNode, method: str, params: Sequence[Any]) -> Any:
    """What a method returns, as JSON has it; raises RpcError."""
    if isinstance(node, DaemonNode):
        result = node.answer(method, params)
    else:
        result = json.loads(encode(node.do(node.table.call_async(node.table.find(method), list(params)))))
    if isinstance(result, dict):
        result = {key: value for key, value in result.items() if key not in ("disk_size", "errors")}
    return result


def until(condition: Callable[[], object]) -> None:
    """Wait; raises TimeoutError."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


def has_failed(node: AnyNode) -> bool:
    """Whether it ends by itself, or has ended."""
    return node.failed if isinstance(node, DaemonNode) else node.launch.failure.error is not None


def settle(node: AnyNode) -> None:
    """Wait for indexes, and for the chain below a loaded set, unless the node ends."""

    def settled() -> bool:
        if has_failed(node):
            return True
        if isinstance(node, DaemonNode):
            return all(index["synced"] for index in answer(node, "getindexinfo", ()).values())
        indexes = all(state.synced for state in node.thread.call(node.parts.indexes.states))
        return indexes and all(one["validated"] for one in answer(node, "getchainstates", ())["chainstates"])

    until(settled)


def nothing(node: AnyNode) -> None:
    """Only start."""


@dataclass
class Home:
    """A prepared node in ``whole`` (its files of an earlier moment in ``older``), questions and right answers.

    ``act`` is done after each start; ``own``: files in options, relative to the directory; ``is_process``: it runs as
    ``btcnoded``; ``only``: the files that are damaged, where that is not any of them; ``others``: other answers that a
    question may have when its small file is lost or old.
    """

    name: str
    directory: Path
    chain: MiniChain
    options: Mapping[str, Any] = field(default_factory=dict)
    questions: Sequence[Question] = ()
    act: Act = nothing
    own: Mapping[str, str] = field(default_factory=dict)
    is_process: bool = False
    only: Collection[str] = ()
    answers: list[Any] = field(default_factory=list)
    others: list[list[Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        chain, tip = self.chain, self.chain.tip
        self.whole, self.older = self.directory / self.name, self.directory / f"{self.name}-older"
        self.blocks = [block.raw.hex() for block, _ in chain.history]
        valid = chain.template(spend(chain.coinbases[tip - 100], value=10**9), fees=0)
        invalid = chain.template(spend(chain.coinbases[tip - 101], value=1), fees=0)  # it is spent
        self.valid, self.invalid = valid.build().hex(), invalid.build().hex()

    def open(self, directory: Path) -> AnyNode:
        """Start a node; raises BtcnodeError."""
        if self.is_process:
            return DaemonNode(directory)
        own = {name: str(directory / file) for name, file in self.own.items()}
        settings = regtest_config(directory, acceptnonstdtxn=True, **self.options, **own)
        return NodeLab(settings, opens_hints=True)

    def run(self, work: Act, directory: Path | None = None) -> None:
        """Start the node, work with it, stop it."""
        node = self.open(directory or self.whole)
        work(node)
        node.close()

    def keep_older(self) -> None:
        """What the files are now, is the earlier moment."""
        shutil.copytree(self.whole, self.older)

    def submit(self, node: AnyNode, blocks: Sequence[str]) -> None:
        """Hand blocks over that are good."""
        for raw in blocks:
            found = answer(node, "submitblock", [raw])
            assert found in (None, "duplicate", "inconclusive"), found

    def give(self, node: AnyNode, blocks: Sequence[str]) -> None:
        """Hand good blocks to a node that may not connect them yet."""
        assert isinstance(node, NodeLab)
        driver, swiftsync = node.parts.chain.driver, node.parts.swiftsync
        if swiftsync is not None:  # the headers say which block the hints are for
            until(lambda: has_failed(node) or not swiftsync.running or swiftsync.target >= 0)
        for raw in blocks:
            node.do(driver.store_block(bytes.fromhex(raw), node.now, requested=True))

    def ask(self, node: AnyNode) -> list[Any]:
        """The answers to all questions."""
        return [answer(node, one.method, one.params) for one in self.questions]

    def learn(self) -> None:
        """Learn the right answers, from a copy, and which files there are."""
        found = (path for path in self.whole.rglob("*") if path.is_file() and path.name not in UNREAD)
        self.files = sorted(str(path.relative_to(self.whole)) for path in found)
        if self.only:
            self.files = [file for file in self.files if file in self.only]
        self.answers = self._answers(self.whole)
        copies = [self.directory / "without", self.directory / "with-old"]
        for copy in copies:
            shutil.copytree(self.whole, copy)
            for name in SMALL:
                (copy / "regtest" / name).unlink(missing_ok=True)
                if copy.name == "with-old" and (self.older / "regtest" / name).exists():
                    shutil.copyfile(self.older / "regtest" / name, copy / "regtest" / name)
        self.others = [list(pair) for pair in zip(*map(self._answers, copies), strict=True)]
        for copy in copies:
            shutil.rmtree(copy)

    def _answers(self, source: Path) -> list[Any]:
        found: list[Any] = []
        scratch = self.directory / "scratch"
        shutil.copytree(source, scratch)

        def look(node: AnyNode) -> None:
            self.act(node)
            settle(node)
            found.extend(self.ask(node))

        self.run(look, scratch)
        shutil.rmtree(scratch)
        return found


def make_chain(blocks: int, padding: int = 0) -> MiniChain:
    """From block 102 on each has a spend, whose script has ``padding`` bytes."""
    chain = MiniChain()
    script = b"\x6a" + bytes(padding) if padding else b"\x51"
    for height in range(1, blocks + 1):
        txs = [spend(chain.coinbases[height - 101], value=10**9, script_pubkey=script)] if height > 101 else []
        chain.accept(chain.template(*txs).build())
    return chain


def common_questions(chain: MiniChain, depth: int = 0) -> list[Question]:
    """What every node knows; ``depth``: of the blocks that it can verify again, 0 is all."""
    coins, tip = chain.coinbases, chain.tip
    return [
        Question("getbestblockhash"),
        Question("gettxoutsetinfo", ["hash_serialized_3"]),
        Question("gettxout", [to_display(coins[tip - 100][:32]), 0]),
        Question("gettxout", [to_display(coins[2][:32]), 0]),
        Question("scantxoutset", ["start", ["raw(51)"]]),
        Question("getchaintips"),
        Question("verifychain", [4, depth]),
        Question("getblockheader", [to_display(chain.tree.hash(60))]),
        Question("listbanned", (), "banlist.json"),
        Question("getprioritisedtransactions", (), "mempool.dat"),
        Question("getrawmempool", (), "mempool.dat"),
    ]


def write_small(node: AnyNode, number: int) -> None:
    """Something in each of the small files."""
    answer(node, "setban", [f"10.1.2.{number}", "add", 10_000_000])
    answer(node, "prioritisetransaction", [f"{number:064x}", 0, 1000 + number])


def indexed(directory: Path) -> Home:
    """All indexes, a transaction in the pool."""
    chain = make_chain(125)
    tx = next(block.txids[1] for block, _ in reversed(chain.history) if block.n_tx > 1)
    names = [to_display(chain.tree.hash(height)) for height in (3, 60, 110, chain.tip)]
    questions = [
        *common_questions(chain),
        Question("gettxoutsetinfo", ["muhash", 110]),
        Question("getrawtransaction", [to_display(tx), 2]),
        Question("gettxspendingprevout", [[{"txid": to_display(chain.coinbases[1][:32]), "vout": 0}]]),
        *(Question("getblock", [name, 0]) for name in names),
        *(Question("getblockfilter", [name]) for name in names),
        *(Question("getutreexoroots", [name]) for name in names),
        *(Question("getutreexoproof", [name]) for name in names),
        Question("proveutreexocoins", [[{"txid": to_display(chain.coinbases[n][:32]), "vout": 0} for n in (30, 90)]]),
    ]
    home = Home("indexed", directory, chain, INDEXES, questions)

    def begin(node: AnyNode) -> None:
        home.submit(node, home.blocks[:110])
        write_small(node, 1)
        settle(node)

    def go_on(node: AnyNode) -> None:
        home.submit(node, home.blocks)
        write_small(node, 2)
        answer(
            node,
            "sendrawtransaction",
            [spend(chain.coinbases[26], value=49 * 10**8, script_pubkey=b"\x51" * 40).raw.hex(), 0],
        )
        settle(node)

    home.run(begin)
    home.keep_older()
    home.run(go_on)
    anchor = AddrEntry(1_700_000_000, 1, NetAddress.from_host("203.0.113.5", 18444))
    magic = bytes.fromhex("fabfb5da")
    (home.whole / "regtest" / "anchors.dat").write_bytes(encode_anchors([anchor], magic))
    home.learn()
    return home


def pruned(directory: Path) -> Home:
    """Two indexes, and without its first blocks."""
    chain = make_chain(440, 3000)
    names = [to_display(chain.tree.hash(height)) for height in (400, chain.tip)]
    questions = [
        *common_questions(chain, 200),
        Question("gettxoutsetinfo", ["muhash", 300]),
        *(Question("getblock", [name, 0]) for name in names),
        Question("getblockfilter", [to_display(chain.tree.hash(20))]),
    ]
    home = Home("pruned", directory, chain, PRUNES, questions)

    def begin(node: AnyNode) -> None:
        home.submit(node, home.blocks[:430])
        write_small(node, 1)
        settle(node)

    def go_on(node: AnyNode) -> None:
        home.submit(node, home.blocks[430:])
        write_small(node, 2)
        settle(node)
        assert answer(node, "pruneblockchain", [PRUNED]) > 0

    home.run(begin)
    home.keep_older()
    home.run(go_on)
    home.learn()
    return home


def _with_set(name: str, directory: Path) -> tuple[Home, Path]:
    chain = make_chain(125)
    home = Home(name, directory, chain, {}, common_questions(chain))
    return home, make_set(directory, [block.raw for block, _ in chain.history], SET_HEIGHT)


def _headers(node: AnyNode, home: Home) -> None:
    for raw in home.blocks:
        answer(node, "submitheader", [raw[:160]])


def to_be_loaded(directory: Path) -> Home:
    """The headers, and the file of a set in the node's folder, which is loaded after the start."""
    home, file = _with_set("to-be-loaded", directory)

    def begin(node: AnyNode) -> None:
        _headers(node, home)
        write_small(node, 1)

    def load(node: AnyNode) -> None:
        answer(node, "loadtxoutset", ["utxo.dat"])
        home.submit(node, home.blocks[SET_HEIGHT:] + home.blocks[:SET_HEIGHT])

    home.act = load
    home.run(begin)
    shutil.copyfile(file, home.whole / "regtest" / "utxo.dat")
    home.keep_older()
    home.learn()
    return home


def loaded(directory: Path) -> Home:
    """A set is loaded, the chain below it is half there."""
    home, file = _with_set("loaded", directory)

    def begin(node: AnyNode) -> None:
        _headers(node, home)
        answer(node, "loadtxoutset", [str(file)])
        home.submit(node, home.blocks[SET_HEIGHT:120])
        write_small(node, 1)

    def go_on(node: AnyNode) -> None:
        home.submit(node, home.blocks[120:] + home.blocks[:60])
        write_small(node, 2)

    home.act = lambda node: home.submit(node, home.blocks)
    home.run(begin)
    home.keep_older()
    home.run(go_on)
    home.learn()
    return home


def syncing_with_hints(directory: Path) -> Home:
    """A SwiftSync that was stopped half way: hints, progress records, coins that are kept for the end."""
    chain = make_chain(125)
    target = to_display(chain.tree.hash(HINTS_HEIGHT))
    questions = common_questions(chain, chain.tip - HINTS_HEIGHT)
    options, own = {"swiftsyncblock": target}, {"swiftsync": "regtest/hints"}
    home = Home("syncing-with-hints", directory, chain, options, questions, own=own)
    raws = [block.raw for block, _ in chain.history]

    def begin(node: AnyNode) -> None:
        _headers(node, home)
        home.give(node, home.blocks[:30])
        write_small(node, 1)

    def go_on(node: AnyNode) -> None:
        home.give(node, home.blocks[30:70])
        write_small(node, 2)

    def finish(node: AnyNode) -> None:
        home.give(node, home.blocks)
        until(lambda: has_failed(node) or answer(node, "getblockcount", ()) == chain.tip)

    (home.whole / "regtest").mkdir(parents=True)
    (home.whole / "regtest" / "hints").write_bytes(pack_hints(reference_hints(raws[:HINTS_HEIGHT])))
    home.run(begin)
    home.keep_older()
    home.run(go_on)
    home.act = finish
    home.learn()
    return home


def process(directory: Path) -> Home:
    """A process that was killed: its cookie, its addresses, its number, its log; options and a map in files."""
    chain = make_chain(125)
    home = Home("process", directory, chain, {}, common_questions(chain), is_process=True)
    (home.whole / "regtest").mkdir(parents=True)
    (home.whole / "regtest" / "settings.json").write_text('{"maxmempool": "77", "blockfilterindex": "1"}')
    (home.whole / "bitcoin.conf").write_text("# options\n[regtest]\nasmap=asmap.dat\npersistmempool=1\n")
    (home.whole / ASMAP).write_bytes(random_map(3, 6))

    def begin(node: AnyNode) -> None:
        home.submit(node, home.blocks[:110])
        write_small(node, 1)

    home.run(begin)
    home.keep_older()
    node = home.open(home.whole)
    assert isinstance(node, DaemonNode)
    home.submit(node, home.blocks)
    write_small(node, 2)
    answer(node, "savemempool", ())
    answer(node, "gettxoutsetinfo", ["none"])
    settle(node)
    node.end()
    home.only = ("bitcoin.conf", ASMAP, *(f"regtest/{name}" for name in OF_PROCESS))
    home.learn()
    return home


HOMES: Mapping[str, tuple[Callable[[Path], Home], float]] = {  # what makes it, its share of the damages
    "indexed": (indexed, 0.42),
    "pruned": (pruned, 0.2),
    "loaded": (loaded, 0.2),
    "to-be-loaded": (to_be_loaded, 0.08),
    "syncing-with-hints": (syncing_with_hints, 0.06),
    "process": (process, 0.04),
}
