"""A walk of the chain over restarts: indexes that come and go, pruning, reindexing, and all that is told of heights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from btcnode.primitives.header import HEADER_SIZE, header_hash

from .walk import Call, Many, Step, Walk

INDEXES = ("-txindex", "-coinstatsindex", "-blockfilterindex", "-txospenderindex")
OTHERS = ("-prune=1", "-reindex", "-reindex-chainstate", "-persistmempool=0", "-checkblocks=2", "-checklevel=4",
          "-stopatheight=0", "-maxmempool=5", "-peerblockfilters", "-assumevalid=0", "-dbcache=8", "-par=1",
          "-blocksxor=0", "-blockmaxweight=50000", "-limitclustercount=3", "-fastprune", "-checkblocks=0",
          "-test=bip94", "-coinstatsindex=0", "-txindex=0", "-mempoolexpiry=1")  # fmt: skip
ONCE = frozenset({"-reindex", "-reindex-chainstate"})
HASH_KINDS = ("hash_serialized_3", "muhash", "none")


class ChainWalk(Walk):
    """Steps about the chain alone, ends and starts among them."""

    has_company = False
    is_heard = False

    def next(self) -> Step:
        """The next step."""
        makers: tuple[tuple[int, Callable[[], Step]], ...] = (
            (4, self._mine),
            (3, self._mine_chosen),
            (4, self._restart),
            (5, self._invalidate_any),
            (5, self._reconsider),
            (3, lambda: ("preciousblock", [self._some_tip()])),
            (4, self._branch),
            (3, self._submit_block),
            (3, lambda: ("sendrawtransaction", [self.values.good_tx_hex(), 0])),
            (2, lambda: ("pruneblockchain", [self.rng.randrange(140)])),
            (2, lambda: ("verifychain", [self.rng.randrange(5), self.rng.choice((0, 1, 6, 100))])),
            (2, self._time),
            (1, lambda: ("submitheader", [self.values.header_hex()])),
        )
        (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        return maker()

    def observed(self) -> Iterator[Call]:
        """The chain as a whole, then heights and blocks by chance."""
        for method in (
            "getblockchaininfo", "getchaintips", "getchainstates", "getdeploymentinfo", "getindexinfo",
            "getmempoolinfo", "getmininginfo", "getrawmempool", "getbestblockhash", "getchaintxstats",
            "getdifficulty",
        ):  # fmt: skip
            yield method, []
        count = int(self._ask("getblockcount"))
        tips = [str(tip["hash"]) for tip in self._ask("getchaintips")]
        heights = [0, 1, count, count + 1, *(self.rng.randint(0, count) for _ in range(3))]
        for height in heights:
            yield "getblockhash", [height]
            yield "getblockstats", [height]
            for kind in HASH_KINDS:
                yield "gettxoutsetinfo", [kind, height]
        for kind in HASH_KINDS:
            yield "gettxoutsetinfo", [kind]
            yield "gettxoutsetinfo", [kind, None, False]
        for block in (*self.rng.sample(tips, min(3, len(tips))), self.rng.choice(self.world.hashes)):
            yield from self._about(block)
        yield from self._scans(count)

    def _about(self, block: str) -> Iterator[Call]:
        """All that is told of a block."""
        for verbosity in (0, 2, 3):
            yield "getblock", [block, verbosity]
        for method in ("getblockheader", "getblockstats", "getblockfilter", "getdeploymentinfo"):
            yield method, [block]
        yield "getchaintxstats", [None, block]
        yield "gettxoutsetinfo", ["muhash", block]
        yield "getdescriptoractivity", [[block], ["raw(51)", self.values.coin_descriptor()]]
        yield "getblockfrompeer", [block, 0]

    def _scans(self, count: int) -> Iterator[Call]:
        descriptors = ["raw(51)", self.values.coin_descriptor()]
        yield "scantxoutset", ["start", descriptors]
        first = self.rng.randint(0, count)
        yield "scanblocks", ["start", descriptors]
        yield "scanblocks", ["start", descriptors, first, self.rng.randint(first, count + 1)]
        yield "scanblocks", ["start", descriptors, first, None, "basic", {"filter_false_positives": True}]
        tx = self.rng.choice(self.world.txs).txid[::-1].hex()
        for verbosity in (0, 1, 2):
            yield "getrawtransaction", [tx, verbosity]
        yield "gettxoutproof", [[tx]]
        yield "gettxout", [tx, 0]
        yield "getrawmempool", [True]
        yield "gettxspendingprevout", [[self.values.outpoint(), self.values.outpoint()], {"return_spending_tx": True}]

    def observed_paths(self) -> Sequence[str]:
        """Blocks and filters over REST."""
        block = self.rng.choice([self.rng.choice(self.world.hashes), self._some_tip()])
        return (
            *super().observed_paths(),
            *(f"/rest/{kind}/{block}.json" for kind in ("block", "block/notxdetails", "spenttxouts", "headers/5")),
            f"/rest/blockfilter/basic/{block}.json",
            f"/rest/blockfilterheaders/basic/5/{block}.hex",
            f"/rest/blockhashbyheight/{self.rng.randrange(140)}.json",
        )

    # -- steps ---------------------------------------------------------------------------------------------------

    def _restart(self) -> Step:
        rng = self.rng
        wanted = [name for name in INDEXES if rng.random() < 0.5]
        wanted += rng.sample(OTHERS, rng.choice((0, 1, 1, 2)))
        once = [word for word in wanted if word in ONCE]
        return self._start_with([word for word in wanted if word not in ONCE], *once)

    def _invalidate_any(self) -> Step:
        """A block of the active chain near its tip, rarely far below; or one of another branch."""
        count = int(self._ask("getblockcount"))
        depth = self.rng.choice((0, 0, 1, 2, 3, 5, 12))
        found = self._ask("getblockhash", max(1, count - depth))
        if self.rng.random() < 0.25:
            found = self._some_tip()
        self.invalid.append(found)
        return "invalidateblock", [found]

    def _branch(self) -> Step:
        """A branch of up to four blocks from below the tip, given from its end or its beginning."""
        count = int(self._ask("getblockcount"))
        height = max(1, count - self.rng.randrange(5))
        prev = bytes.fromhex(self._ask("getblockhash", height))[::-1]
        time = int(self._ask("getblockheader", prev[::-1].hex())["time"])
        raws: list[bytes] = []
        for n in range(1, self.rng.randrange(2, 6)):
            self.blocks += 1
            extra = b"\x04bran" + self.blocks.to_bytes(2, "little")
            raws.append(self.world.block_on(prev, height + n, [], 0, extra=extra, time=time + n))
            prev = _hash(raws[-1])
        headers: list[Step] = [("submitheader", [raw[:HEADER_SIZE].hex()]) for raw in raws]
        blocks: list[Step] = [("submitblock", [raw.hex()]) for raw in raws]
        if self.rng.random() < 0.4:
            blocks = [*headers, *blocks[::-1]]
        if self.rng.random() < 0.3:
            blocks.pop()
        return Many(tuple(blocks))


def _hash(raw: bytes) -> bytes:
    return header_hash(raw[:HEADER_SIZE])
