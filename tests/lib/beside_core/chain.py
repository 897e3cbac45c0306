"""The life of a chain: branches in any order with faults of every kind, blocks condemned and pardoned, restarts."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, Header, header_hash
from tests.lib.block_cases import CASES
from tests.lib.block_catalogue import edge_blocks, invalid_blocks, invalid_coinbases, invalid_scripts, invalid_spends
from tests.lib.block_fuzz import BlockFuzzer
from tests.lib.block_lab import Lab, reheader, spend
from tests.lib.rpc_diff.text import Tree

from .pair import Pair

CATALOGUES = (edge_blocks, invalid_blocks, invalid_coinbases, invalid_scripts, invalid_spends)
NAMES = sorted(name for name, case in CASES.items() if case.rejects)
LARGEST = 600_000  # bytes of a block: the largest take both nodes long
OPTIONS: tuple[tuple[str, ...], ...] = (
    ("-coinstatsindex=1",),
    ("-txindex=1",),
    ("-fastprune", "-prune=1 -fastprune"),
    ("-dbcache=4",),
    ("-par=1", "-par=2"),
    ("-testactivationheight=csv@130", "-testactivationheight=segwit@130", "-testactivationheight=dersig@125"),
    ("-testactivationheight=cltv@140", "-testactivationheight=bip34@120"),
    ("-vbparams=testdummy:0:999999999999", "-vbparams=testdummy:1296688603:9999999999:144"),
    ("-test=bip94",),
    ("-checkblocks=3 -checklevel=4",),
)  # fmt: skip
DEEPEST = 6  # blocks below the tip that a branch may begin at, mostly


class ChainLife:
    """A random life, from a seed. Every block that was made is known with the lab that it is the tip of."""

    def __init__(self, pair: Pair, rng: Random) -> None:
        self.pair = pair
        self.rng = rng
        base = Lab(params_for("regtest"), now=pair.now)
        self.raws = list(base.prepare())
        self.labs: dict[str, Lab] = {_name(self.raws[-1]): base}  # by the hash of the tip
        self.blocks: dict[str, bytes] = {}
        self.held: list[bytes] = []  # made, and not given yet
        self.condemned: list[str] = []
        self.steps = 0

    def begin(self) -> None:
        """Both get the first blocks."""
        for raw in self.raws:
            self.pair.both("submitblock", raw.hex())

    # -- steps ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One step, and what is to be seen of it."""
        makers: tuple[tuple[int, Callable[[], None]], ...] = (
            (12, self._extend),
            (4, self._faulty),
            (3, self._catalogue),
            (3, self._hold),
            (4, self._give_held),
            (2, self._header_alone),
            (3, self._again),
            (3, self._invalidate),
            (3, self._reconsider),
            (2, self._precious),
            (1, lambda: self._call("verifychain", self.rng.choice((3, 4)), self.rng.choice((0, 3, 8)))),
            (1, lambda: self._call("pruneblockchain", self.rng.randrange(1, 140))),
            (1, self._time),
        )
        (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        maker()
        self.steps += 1
        self._look()

    def _call(self, method: str, *params: Any) -> Tree:
        answer = self.pair.both(method, *params)
        self.pair.settle()
        return answer

    def _time(self) -> None:
        self.pair.sets(self.pair.now + self.rng.choice((1, 600, 7200)))

    def _parent(self) -> Lab:
        """Of the active tip mostly; else of a block near it, or of any."""
        best = self.pair.same("getbestblockhash")
        kind = self.rng.random()
        if kind < 0.6 and best in self.labs:
            lab = self.labs[best]
        else:
            names = list(self.labs)
            lab = self.labs[self.rng.choice(names[-DEEPEST:] if kind < 0.95 else names)]
        lab = lab.fork()
        lab.now = self.pair.now
        return lab

    def _made(self, lab: Lab, raw: bytes) -> bytes:
        """The block can be built on."""
        self.blocks[_name(raw)] = raw
        lab.adopt(raw)
        self.labs[_name(raw)] = lab
        return raw

    def _good(self) -> bytes:
        """A block with a few transactions, some of which other branches have, too."""
        lab = self._parent()
        rng, txs = self.rng, []
        if lab.height > 101 and rng.random() < 0.15:
            ripe = lab.coinbases.get(lab.height - 99)
            if ripe is not None and ripe.script_pubkey == b"\x51":
                txs.append(spend([ripe]))
        for _ in range(rng.choice((0, 0, 1, 2, 4))):
            coin = lab.open_coins[rng.randrange(40)]
            lab.open_coins.remove(coin)
            txs.append(spend([coin], sequences=[rng.choice((0, 1, 2, 0xFFFFFFFF))]))
        version = rng.choice((0x20000000, 0x20000000, 0x30000000, 4, 0x7FFFFFFF))
        extra = b"\x08" + rng.randbytes(8)
        times = rng.choice(({}, {}, {}, {"time": lab.median_time + 1}, {"time": self.pair.now + 7200}))
        return self._made(lab, lab.block(*txs, version=version, extra=extra, **times))

    def _submit(self, raw: bytes) -> None:
        if len(raw) <= LARGEST:
            self._call("submitblock", raw.hex())

    def _extend(self) -> None:
        self._submit(self._good())

    def _faulty(self) -> None:
        """A block that was changed at random, and one on top of it."""
        lab = self._parent()
        lab.coinbases.setdefault(lab.height - 99, lab.coinbases[1])
        raw = BlockFuzzer(lab, self.rng).case()
        self._submit(raw)
        if self.rng.random() < 0.5 and len(raw) > HEADER_SIZE and raw[4:36] == lab.tip_hash:
            try:
                child = lab.fork()
                child.adopt(raw)
            except (ValueError, LookupError):  # it is no block at all
                return
            self._submit(child.block(extra=self.rng.randbytes(8)))

    def _catalogue(self) -> None:
        """A case of the catalogue on some block, step by step, and again."""
        lab = self._parent()
        case = CASES[self.rng.choice(NAMES)]
        self.pair.note(f"case {case.name}")
        try:
            for step in case.build(lab):
                self._submit(step.raw)
                if not step.reason and step.tip:
                    self._made(lab, step.raw)
                    lab = lab.fork()
        except (ValueError, LookupError):  # the case wants another chain
            return

    def _hold(self) -> None:
        """Make up to three blocks in a row and keep them back."""
        for _ in range(self.rng.randrange(1, 4)):
            self.held.append(self._good())

    def _give_held(self) -> None:
        """Give blocks that were kept back: their headers first, or not, in any order."""
        rng = self.rng
        if rng.random() < 0.4:
            for raw in self.held:
                self._call("submitheader", raw[:HEADER_SIZE].hex())
        if rng.random() < 0.5:
            rng.shuffle(self.held)
        for raw in self.held:
            if rng.random() < 0.85:
                self._submit(raw)
        self.held.clear()

    def _header_alone(self) -> None:
        """A header on some block, right or wrong."""
        rng, lab = self.rng, self._parent()
        raw = lab.block(extra=rng.randbytes(8))
        changes: dict[str, Any] = rng.choice((
            {}, {}, {"time": lab.median_time}, {"time": self.pair.now + 7201}, {"bits": 0x207FFFFE}, {"version": 1},
            {"version": -1}, {"prev_hash": rng.randbytes(32)}, {"merkle_root": bytes(32)},
        ))  # fmt: skip
        raw = reheader(raw, **changes)
        self._call("submitheader", raw[:HEADER_SIZE].hex())
        if rng.random() < 0.5:
            child = Header(0x20000000, header_hash(raw[:HEADER_SIZE]), bytes(32), lab.next_time + 1, 0x207FFFFF, 0)
            self._call("submitheader", reheader(child.serialize()).hex())
        if rng.random() < 0.5:
            self._submit(raw)

    def _again(self) -> None:
        """A block that was made before."""
        if self.blocks:
            self._submit(self.rng.choice(list(self.blocks.values())))

    def _some_block(self) -> str:
        """One of the active chain near its tip, or any that was made."""
        if self.rng.random() < 0.6 or not self.blocks:
            height = int(self.pair.same("getblockcount")) - self.rng.choice((0, 0, 1, 2, 4, 9))
            return str(self.pair.same("getblockhash", max(1, height)))
        return self.rng.choice(list(self.blocks))

    def _invalidate(self) -> None:
        name = self._some_block()
        pruned = self.pair.same("getblockchaininfo").get("pruneheight")
        if pruned is not None and int(self.pair.theirs("getblockheader", name)["height"]) <= int(pruned) + 1:
            return  # see docs/differences.md
        self.condemned.append(name)
        self._call("invalidateblock", name)

    def _reconsider(self) -> None:
        known = self.condemned and self.rng.random() < 0.8
        self._call("reconsiderblock", self.rng.choice(self.condemned) if known else self._some_block())

    def _precious(self) -> None:
        self._call("preciousblock", self._some_block())

    def restart(self) -> None:
        """Both with other options, perhaps with the chain connected anew."""
        rng, pair = self.rng, self.pair
        rows = rng.sample(OPTIONS[:5], rng.choice((0, 1, 2)))
        pruned = [word for word in pair.options if "prune" in word]
        fixed = [word for word in pair.options if "activation" in word or "vbparams" in word or "bip94" in word]
        chosen = [word for row in rows for word in rng.choice(row).split()]
        kept, pair.options = pair.options, [*fixed, *chosen]
        if pruned and not any("-prune" in word for word in pair.options):
            pair.options += pruned
        once = rng.choice(((), (), (), ("-reindex-chainstate",), ("-reindex",)))
        if any("prune" in word for word in pair.options):
            once = ()
        if pair.restart(*once):
            pair.options = kept
            pair.restart()
        pair.settle()
        self._look()

    def _look(self) -> None:
        pair, rng = self.pair, self.rng
        pair.settle()
        for method in ("getbestblockhash", "getchaintips", "getblockchaininfo", "getdeploymentinfo"):
            pair.same(method)
        pair.same("gettxoutsetinfo", rng.choice(("hash_serialized_3", "muhash")))
        for name in rng.sample(list(self.blocks), min(3, len(self.blocks))):
            pair.same("getblockheader", name)
        if self.steps % 5 == 0:
            pair.same("getblocktemplate", {"rules": ["segwit"]})
            pair.same("getblockstats", pair.same("getbestblockhash"))
            pair.same("getrawmempool", True)


def _name(raw: bytes) -> str:
    return to_display(header_hash(raw[:HEADER_SIZE]))


def live(pair: Pair, rng: Random, steps: int) -> None:
    """A whole life. Raises Difference, Tie."""
    rows = rng.sample(OPTIONS, rng.choice((0, 1, 2, 3)))
    pair.options = [word for row in rows for word in rng.choice(row).split()]
    if pair.restart():  # they do not go together
        pair.options = []
        pair.restart()
    life = ChainLife(pair, rng)
    life.begin()
    for step in range(1, steps + 1):
        life.step()
        if step % 50 == 0:
            life.restart()
