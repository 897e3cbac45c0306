"""A walk of mining: templates, waiting for the next, proposals, blocks and headers with every fault, given twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import ZERO_HASH
from btcnode.primitives.header import HEADER_SIZE
from btcnode.primitives.tx import NULL_OUTPOINT, SEQUENCE_FINAL, Tx
from btcnode.testing.blocks import COMMITMENT_PREFIX, assemble, coinbase_tx, push_number, witness_commitment
from btcnode.wire.messages import BlockMessage

from .nodes import Node
from .values import Values
from .walk import Call, Many, Step, Waiting, Walk
from .world import PUBKEYS, UNUSUAL_SCRIPTS

HEADERS_KEPT = 30
RULES: tuple[Any, ...] = (
    ["segwit"], ["segwit"], ["segwit"], ["segwit", "taproot"], ["segwit", "testdummy", "csv"], ["!segwit"], [], ["x"],
    ["segwit", "segwit"], ["segwit", "signet"],
)  # fmt: skip
HASHPS: tuple[list[Any], ...] = (
    [], [1], [2], [120], [-1], [0], [-2], [10**6], [5, 0], [5, 1], [5, 20], [5, -1], [5, 10**6], [-1, 3], [None, 7],
    [200, 4], [5, -2],
)  # fmt: skip
SCRIPTS = (
    "raw(51)", "raw(6a)", f"pk({PUBKEYS[1].hex()})", f"tr({PUBKEYS[1].hex()})", f"sh(wpkh({PUBKEYS[2].hex()}))",
    f"combo({PUBKEYS[1].hex()})", f"multi(1,{PUBKEYS[1].hex()},{PUBKEYS[2].hex()})", "raw()",
    f"wsh(pk({PUBKEYS[3].hex()}))", "addr(x)", "raw(51)#00000000",
)  # fmt: skip


class MineWalk(Walk):
    """Steps of miners."""

    def __init__(self, values: Values, nodes: Sequence[Node], now: int) -> None:
        super().__init__(values, nodes, now)
        self.made: list[bytes] = []  # blocks that were given to nobody, to the nodes, or in part

    def next(self) -> Step:
        """The next step."""
        makers: tuple[tuple[int, Callable[[], Step]], ...] = (
            (3, lambda: ("getblocktemplate", [self._template_request()])),
            (9, lambda: ("getblocktemplate", [self._proposal()])),
            (9, lambda: ("submitblock", [self._any_block().hex(), *self.rng.choice(([], [], ["x"], [None]))])),
            (4, lambda: ("submitheader", [self._any_block()[:HEADER_SIZE].hex()])),
            (3, self._submit_twice),
            (2, self._header_then_block),
            (2, lambda: (self.rng.randrange(2), BlockMessage(self._any_block()))),
            (2, self._long_poll),
            (2, self._wait),
            (4, self._generate_block),
            (2, lambda: ("generatetodescriptor", [self.rng.randrange(3), self.rng.choice(SCRIPTS)])),
            (2, lambda: ("generatetoaddress", [self.rng.randrange(3), self.values.good_address()])),
            (1, lambda: ("generatetoaddress", [1, self.values.good_address(), self.rng.choice((0, 1, 2**31 - 1))])),
            (5, lambda: ("sendrawtransaction", [self.values.good_tx_hex(), 0])),
            (3, lambda: ("sendrawtransaction", [self._pool_child().raw.hex(), 0])),
            (3, self._prioritise),
            (2, self._invalidate),
            (2, self._reconsider),
            (1, lambda: ("preciousblock", [self._some_tip()])),
            (3, self._time),
            (2, lambda: ("getnetworkhashps", list(self.rng.choice(HASHPS)))),
        )
        (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        return maker()

    def observed(self) -> Iterator[Call]:
        """What miners look at, beside the rest."""
        yield from super().observed()
        for params in HASHPS:
            yield "getnetworkhashps", params
        yield "getblocktemplate", [{"rules": ["segwit"], "capabilities": ["proposal", "longpoll", "x"]}]

    # -- requests ------------------------------------------------------------------------------------------------

    def _template_request(self) -> dict[str, Any]:
        rng = self.rng
        found: dict[str, Any] = {"rules": rng.choice(RULES)}
        if rng.random() < 0.3:
            found["mode"] = rng.choice(("template", "template", "", "x", None, 1, "proposal"))
        if rng.random() < 0.3:
            found["capabilities"] = rng.choice((["proposal"], ["x"], [], ["coinbasetxn", "workid"]))
        if rng.random() < 0.2:
            found["longpollid"] = rng.choice(self.world.hashes) + str(rng.randrange(100))  # of another tip: no wait
        if rng.random() < 0.1:
            found["maxversion"] = rng.choice((0, 2, 2**31 - 1, -1))
        return found

    def _proposal(self) -> dict[str, Any]:
        data = self._any_block()
        if self.rng.random() < 0.1:
            data = data[: self.rng.randrange(len(data))]
        if self.rng.random() < 0.1:
            data += b"\0"
        found: dict[str, Any] = {"mode": "proposal", "data": data.hex()}
        if self.rng.random() < 0.7:
            found["rules"] = self.rng.choice(RULES)
        return found

    def _submit_twice(self) -> Step:
        raw = self._any_block().hex()
        return Many((("submitblock", [raw]), ("submitblock", [raw]), ("getblocktemplate", [{
            "mode": "proposal", "rules": ["segwit"], "data": raw}])))  # fmt: skip

    def _header_then_block(self) -> Step:
        raw = self._any_block()
        header = raw[:HEADER_SIZE].hex()
        return Many((("submitheader", [header]), ("submitheader", [header]), ("submitblock", [raw.hex()])))

    def _long_poll(self) -> Step:
        """Wait for another template, which comes with the next block."""
        longpollid = self._ask_all("getblocktemplate", {"rules": ["segwit"]})["longpollid"]
        # the count behind the hash is each node's own: a count that nobody has ends the wait when it is looked at
        call: Call = ("getblocktemplate", [{"rules": ["segwit"], "longpollid": longpollid}])
        return Waiting(call, ("generatetodescriptor", [1, "raw(51)"]))

    def _wait(self) -> Step:
        height = int(self._ask("getblockcount"))
        tip = self._ask("getbestblockhash")
        call: Call = self.rng.choice(
            (
                ("waitfornewblock", [20_000]),
                ("waitfornewblock", [20_000, tip]),
                ("waitforblockheight", [height + 1, 20_000]),
                ("waitforblockheight", [height + 2, 20_000]),
            )
        )
        blocks = 2 if call[1][0] == height + 2 else 1
        return Waiting(call, Many((("generatetodescriptor", [1, "raw(51)"]),) * blocks))

    def _generate_block(self) -> Step:
        rng, pool = self.rng, self._pool()
        chosen = rng.sample(pool, min(len(pool), rng.randrange(4)))
        if rng.random() < 0.4:
            chosen.insert(rng.randint(0, len(chosen)), rng.choice((self.values.tx_hex, self.values.good_tx_hex))())
        if rng.random() < 0.15:
            chosen = chosen[::-1] + chosen[:1]
        output = self.values.good_address() if rng.random() < 0.5 else rng.choice(SCRIPTS)
        return "generateblock", [output, chosen, *rng.choice(([], [], [True], [False]))]

    # -- blocks --------------------------------------------------------------------------------------------------

    def _any_block(self) -> bytes:
        """A block: good, with a fault, or one that was made before."""
        rng = self.rng
        if self.made and rng.random() < 0.25:
            return rng.choice(self.made)
        if rng.random() < 0.1:
            return rng.choice((self._new_block, self.values.block))()
        raw = self._made_of_template()
        self.made = [*self.made, raw][-HEADERS_KEPT:]
        return raw

    def _template(self) -> tuple[dict[str, Any], list[Tx], int]:
        """What the node would mine now: its template, transactions and their fees; now and then without them."""
        found = self._ask_all("getblocktemplate", {"rules": ["segwit"]})  # ``getmininginfo`` tells of it
        rows = found["transactions"] if self.rng.random() < 0.7 else []
        return found, [Tx.parse(bytes.fromhex(row["data"])) for row in rows], sum(int(row["fee"]) for row in rows)

    def _made_of_template(self) -> bytes:
        """A block of the mempool's transactions, with one fault or none."""
        rng = self.rng
        found, txs, fees = self._template()
        height, mtp = int(found["height"]), int(found["mintime"])
        prev = bytes.fromhex(found["previousblockhash"])[::-1]
        self.blocks += 1
        extra = b"\x04mine" + self.blocks.to_bytes(2, "little")
        changes: dict[str, Any] = {"time": max(mtp, int(found["curtime"])), "extra": extra}
        kind = rng.choice(FAULTS)
        match kind:
            case "old":
                changes["time"] = mtp - 1
            case "earliest":
                changes["time"] = mtp
            case "future":
                changes["time"] = self.now + rng.choice((7199, 7200, 7201, 100_000))
            case "version":
                changes["version"] = rng.choice((0, 1, 2, 3, 4, 0x7FFFFFFF, 0x20000004))
            case "greedy":
                fees += rng.choice((1, 10**8))
            case "modest":
                fees -= min(fees, 1)
            case "order":
                txs = txs[::-1]
            case "twice":
                txs = [*txs, *txs[-1:]]
            case "stranger":
                txs = [*txs, self.values.tx()]
            case "unknown":
                prev = rng.randbytes(32)
            case "height":
                changes["height"] = height + rng.choice((-1, 1, 1000))
            case "merkle":
                changes["merkle"] = rng.randbytes(32)
            case _:
                changes |= self._coinbase(kind, height, fees, txs, extra)
        raw = self.world.block_on(prev, changes.pop("height", height), txs, fees, **changes)
        return self._mutated(raw, kind)

    def _coinbase(self, kind: str, height: int, fees: int, txs: list[Tx], extra: bytes) -> dict[str, Any]:
        """Another coinbase, or no change."""
        value = 50 * 10**8 >> height // 150
        commitment = witness_commitment(txs)
        usual = coinbase_tx(height, value + fees, extra=extra, commitment=commitment)
        script = usual.script_sigs[0]

        def other(**changes: Any) -> dict[str, Any]:
            parts: dict[str, Any] = {"script": script, "txouts": usual.txouts, "witness": usual.witnesses}
            parts |= {"prevout": NULL_OUTPOINT, "lock_time": 0, **changes}
            inputs = [parts["prevout"]], [parts["script"]], [SEQUENCE_FINAL]
            return {"coinbase": Tx(2, *inputs, parts["txouts"], parts["witness"], parts["lock_time"])}

        wrong = make_txout(0, COMMITMENT_PREFIX + bytes(32))
        makers: dict[str, Callable[[], dict[str, Any]]] = {
            "uncommitted": lambda: {"commit": False},
            "short script": lambda: other(script=b"\x51"),
            "long script": lambda: other(script=push_number(height) + bytes(98)),
            "no height": lambda: other(script=b"\x01\x01"),
            "no nonce": lambda: other(witness=None),
            "long nonce": lambda: other(witness=[[bytes(33)]]),
            "two nonces": lambda: other(witness=[[ZERO_HASH, ZERO_HASH]]),
            "other nonce": lambda: other(witness=[[b"\x01" * 32]]),
            "wrong commitment": lambda: other(txouts=[usual.txouts[0], wrong]),
            "two commitments": lambda: other(txouts=[*usual.txouts, wrong]),
            "overruled commitment": lambda: other(txouts=[usual.txouts[0], wrong, usual.txouts[1]]),
            "no coinbase": lambda: other(prevout=self.values.coin().outpoint),
            "null input": lambda: other(prevout=bytes(32) + b"\0\0\0\0"),
            "late coinbase": lambda: other(lock_time=height + 1),
            "sigops": lambda: other(txouts=[*usual.txouts, make_txout(0, b"\xac" * 20_001)]),
            "heavy": lambda: other(txouts=[*usual.txouts, make_txout(0, bytes(1_000_001))]),
            "many outputs": lambda: other(txouts=[*usual.txouts, *(make_txout(0, s) for s in UNUSUAL_SCRIPTS)]),
            "negative": lambda: other(txouts=[make_txout(-1, b"\x51")]),
            "too rich": lambda: other(txouts=[make_txout(21_000_001 * 10**8, b"\x51")]),
        }
        return makers[kind]() if kind in makers else {}

    def _mutated(self, raw: bytes, kind: str) -> bytes:
        """The block's bytes with a fault that its template cannot have."""
        rng = self.rng
        if kind == "bits":
            return (
                raw[:72]
                + rng.choice((0, 1, 0x207FFFFE, 0x1F7FFFFF, 0x21008000, 0x1D00FFFF)).to_bytes(4, "little")
                + raw[76:]
            )
        if kind == "nonce":
            return raw[:76] + rng.randbytes(4) + raw[80:]
        if kind == "no transactions":
            return raw[:HEADER_SIZE] + b"\0"
        if kind == "header alone":
            return raw[:HEADER_SIZE]
        if kind == "two coinbases":
            coinbase, end = Tx.parse_at(raw, HEADER_SIZE + 1)
            return assemble(raw[:HEADER_SIZE], [coinbase, coinbase]) + raw[end:]
        if kind == "stripped":
            coinbase, _ = Tx.parse_at(raw, HEADER_SIZE + 1)
            bare = Tx(coinbase.version, coinbase.prevouts, coinbase.script_sigs, coinbase.sequences, coinbase.txouts)
            return assemble(raw[:HEADER_SIZE], [bare])
        if kind == "tail":
            return raw + rng.randbytes(3)
        return raw


FAULTS = (
    *(["none"] * 8), "old", "earliest", "future", "version", "greedy", "modest", "order", "twice", "stranger",
    "stranger", "unknown", "height", "merkle", "bits", "nonce", "no transactions", "header alone", "two coinbases",
    "stripped", "tail", "uncommitted", "short script", "long script", "no height", "no nonce", "long nonce",
    "two nonces", "other nonce", "wrong commitment", "two commitments", "overruled commitment", "no coinbase",
    "null input", "late coinbase", "sigops", "heavy", "many outputs", "negative", "too rich",
)  # fmt: skip
