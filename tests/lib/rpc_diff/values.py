"""Values for arguments, by what the argument means: right ones, nearly right ones, and things that are none."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from btcnode.descriptors.checksum import with_checksum
from btcnode.primitives.addresses import address_for_script, base58check_encode
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import Tx
from btcnode.testing.templates import Spendable

from .text import Raw
from .world import PUBKEYS, START_TIME, UNCOMPRESSED, UNUSUAL_SCRIPTS, Coin, World, anyone, spend, unsigned, wif

JUNK: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    100,
    0.5,
    1.5,
    -0.5,
    Raw("1.0"),
    Raw("1e2"),
    Raw("-0"),
    Raw("0.00000001"),
    2**31 - 1,
    2**31,
    -(2**31),
    -(2**31) - 1,
    2**32 - 1,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64,
    Raw("1" + "0" * 400),
    Raw("1e400"),
    Raw("-1e-400"),
    "",
    " ",
    "a",
    "0",
    "1",
    "-1",
    "true",
    "null",
    "[]",
    "{}",
    "\0",
    "a\0b",
    "é",
    "☃",
    "\U0001f600",
    "\x7f",
    "'",
    '"',
    "\\",
    "%s",
    "../..",
    "z" * 300,
    "0" * 64,
    "F" * 64,
    [],
    {},
    [None],
    [[]],
    [{}],
    [""],
    [0],
    [True],
    {"a": 1},
    {"": None},
    [[[[]]]],
    ["a", 1, None, {}],
)

MAINNET_ADDRESSES = (
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
)
BAD_ADDRESSES = (
    "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt081",
    "bcrt1",
    "BCRT1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KYGT080",
    "bcrt1qW508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
    "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfo",
    "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn ",
    "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6",
    "bcrt1pfees9rn5nz",
    "bcrt1sqqqsqqqq",
    "bcrt1q",
    "1",
    "m",
    "0OIl",
    "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq",
)
TPUB = "tpubD6NzVbkrYhZ4WaWSyoBvQwbpLkojyoTZPRsgXELWz3Popb3qkjcJyJUGLnL4qHHoQvao8ESaAstxYSnhyswJ76uZPStJRJCTKvosUCJZL5B"
TPRV = "tprv8ZgxMBicQKsPd7Uf69XL1XwhmjHopUGep8GuEiJDZmbQz6o58LninorQAfcKZWARbtRtfnLcJ5MQ2AtHcQJCCRUcMRvmDUjyEmNUWwx8UbK"
XPUB = "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8"


def _changed(rng: Random, text: str) -> str:
    """Text with one thing wrong in it."""
    if not text:
        return "0"
    at = rng.randrange(len(text))
    roll = rng.randrange(7)
    if roll == 0:
        return text[:at]
    if roll == 1:
        return text[:at] + text[at + 1 :]
    if roll == 2:
        return text[:at] + rng.choice("0aZg+/= \0é'()*,") + text[at + 1 :]
    if roll == 3:
        return text.upper()
    if roll == 4:
        return text + rng.choice(("0", "00", " ", "=", "ff" * 10))
    if roll == 5:
        return rng.choice((" ", "0x", "\n")) + text
    return text[:at] + rng.choice("0123456789abcdef") + text[at + 1 :]


def changed_bytes(rng: Random, data: bytes) -> bytes:
    """Bytes with something wrong in them."""
    for _ in range(rng.randrange(1, 3)):
        at = rng.randrange(len(data) + 1)
        roll = rng.randrange(5)
        if roll == 0:
            data = data[:at]
        elif roll == 1:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif roll == 2:
            data = data[:at] + rng.randbytes(rng.randrange(1, 5)) + data[at:]
        elif roll == 3:
            data = data[:at] + data[at + rng.randrange(1, 5) :]
        else:
            data = data[:at] + bytes([rng.choice((0, 1, 0xFC, 0xFD, 0xFE, 0xFF))]) + data[at + 1 :]
    return data


class Vectors:
    """Test vectors of Core, where they are: more psbts, transactions and scripts."""

    def __init__(self, directory: Path | None) -> None:
        self.psbts: list[str] = []
        self.transactions: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        if directory is None or not (directory / "core").is_dir():
            return
        core = directory / "core"
        psbt = json.loads((core / "functional" / "rpc_psbt.json").read_text())
        self.psbts = [item for name in ("valid", "invalid") for item in psbt[name]]
        self.psbts += [item[0] for item in psbt["invalid_with_msg"]] + [item["psbt"] for item in psbt["signer"]]
        self.psbts += [item for case in psbt["combiner"] for item in [*case["combine"], case["result"]]]
        self.psbts += [item for case in psbt["finalizer"] for item in (case["finalize"], case["result"])]
        for name in ("tx_valid", "tx_invalid"):
            self.transactions += [row[1] for row in json.loads((core / f"{name}.json").read_text()) if len(row) == 3]
        for name in ("key_io_valid", "key_io_invalid"):
            self.addresses += [row[0] for row in json.loads((core / f"{name}.json").read_text())]
        scripts = json.loads((core / "functional" / "rpc_decodescript.json").read_text())
        self.scripts = [row[0] for row in scripts]


class Values:
    """Values by the role of an argument: ``values.blockhash()`` and so on; a generator decides which."""

    def __init__(self, world: World, rng: Random, vectors: Vectors) -> None:
        self.world = world
        self.rng = rng
        self.vectors = vectors
        self.psbts: list[str] = list(vectors.psbts)
        self.proofs: list[str] = []
        self.signatures: list[tuple[str, str, str]] = []
        self.mempool_txs = [tx for txs in world.mempool for tx in txs]
        self.by_txid = {tx.txid: tx for tx in (*world.txs, *self.mempool_txs)}

    def role(self, name: str) -> Any:
        """A value of this role; ``name:a,b`` passes words on."""
        head, _, rest = name.partition(":")
        return getattr(self, head)(*rest.split(",")) if rest else getattr(self, head)()

    def junk(self) -> Any:
        """Anything."""
        return self.rng.choice(JUNK)

    def pick(self, *options: Callable[[], Any] | Any) -> Any:
        """One of the options, called when it is a function."""
        chosen = self.rng.choice(options)
        return chosen() if callable(chosen) else chosen

    def word(self, *words: str) -> Any:
        """One of these words, rarely changed."""
        word = self.rng.choice(words)
        return _changed(self.rng, word) if self.rng.random() < 0.1 else word

    # -- numbers -------------------------------------------------------------------------------------------------

    def boolean(self) -> bool:
        """True or false."""
        return self.rng.random() < 0.5

    def number(self, low: str = "-2", high: str = "10") -> Any:
        """A whole number about a range, its bounds more often."""
        first, last = int(low), int(high)
        return self.pick(lambda: self.rng.randint(first, last), first, last, first - 1, last + 1, 0, 1, -1)

    def height(self) -> Any:
        """A height of the chain or beyond."""
        return self.pick(
            lambda: self.rng.randint(0, self.world.height),
            0,
            1,
            self.world.height,
            self.world.height + 1,
            self.world.height - 1,
            -1,
            2**31 - 1,
            -(2**31),
        )

    def low_height(self) -> int:
        """A height."""
        return self.rng.randint(0, self.world.height)

    def amount(self) -> Any:
        """An amount of coins, as a number or text."""
        return self.pick(
            0,
            1,
            0.1,
            Raw("0.00000001"),
            Raw("0.000000001"),
            Raw("0.00000546"),
            21000000,
            21000001,
            -1,
            "0.5",
            "1e-8",
            "abc",
            "",
            " 1",
            "1_0",
            "1.",
            ".1",
            "+1",
            "-0",
            Raw("-0"),
            Raw("1e3"),
            Raw("1E-3"),
            Raw("1e999999"),
            "0x1",
            "1.123456789",
            "1.10000000",
            Raw("0.10000000000000000000"),
            "٣",
            92233720368,
            Raw("92233720368.54775808"),
        )

    def feerate(self) -> Any:
        """A fee rate in coins per kvB."""
        return self.pick(self.amount, 0, 0, 0.1, 1, Raw("0.99999999"), "0.1", Raw("1.00000001"), Raw("0.00001"))

    # -- hashes --------------------------------------------------------------------------------------------------

    def some_hash(self) -> Any:
        """A hash that nobody knows, or no hash."""
        return self.pick(
            "00" * 32,
            "ff" * 32,
            "ab" * 31,
            "ab" * 33,
            "zz" * 32,
            "",
            "0x" + "a" * 62,
            lambda: self.rng.randbytes(32).hex(),
        )

    def blockhash(self) -> Any:
        """A block: active, stale, header only, invalid, unknown."""
        world = self.world
        others = [
            header_hash(raw[:HEADER_SIZE])[::-1].hex()
            for raw in (*world.side_blocks, *world.lone_headers, *world.bad_blocks)
        ]
        known = self.rng.choice(world.hashes)
        return self.pick(
            known,
            known,
            known,
            known,
            lambda: self.rng.choice(others),
            self.some_hash,
            lambda: _changed(self.rng, known),
            world.hashes[0],
            world.hashes[-1],
        )

    def active_hash(self) -> Any:
        """A block of the active chain."""
        return self.rng.choice(self.world.hashes)

    def hash_or_height(self) -> Any:
        """Either."""
        return self.pick(self.blockhash, self.height)

    def txid(self) -> Any:
        """A transaction: unconfirmed, confirmed, unknown."""
        pool = self.rng.choice(self.mempool_txs).txid[::-1].hex()
        mined = self.rng.choice(self.world.txs).txid[::-1].hex()
        return self.pick(pool, pool, mined, mined, self.some_hash, lambda: _changed(self.rng, pool))

    def pool_txid(self) -> Any:
        """An unconfirmed transaction."""
        return self.rng.choice(self.mempool_txs).txid[::-1].hex()

    def wtxid(self) -> Any:
        """An unconfirmed transaction's other name."""
        return self.rng.choice(self.mempool_txs).wtxid[::-1].hex()

    def outpoint(self) -> Any:
        """An output as an object."""
        coin = self.rng.choice(self.world.coins + self.world.spent)
        tx = self.rng.choice(self.mempool_txs)
        known = {"txid": coin.outpoint[:32][::-1].hex(), "vout": int.from_bytes(coin.outpoint[32:], "little")}
        spent = {"txid": tx.prevouts[0][:32][::-1].hex(), "vout": int.from_bytes(tx.prevouts[0][32:], "little")}
        return self.pick(known, known, spent, {"txid": self.txid(), "vout": self.number()})

    # -- scripts and keys ----------------------------------------------------------------------------------------

    def script(self) -> Any:
        """A script: of a coin, unusual, damaged."""
        coin = self.rng.choice(self.world.coins)
        return self.pick(
            coin.how.script_pubkey,
            lambda: self.rng.choice(UNUSUAL_SCRIPTS[:-1]),
            coin.how.script_pubkey,
            lambda: changed_bytes(self.rng, coin.how.script_pubkey),
            lambda: self.rng.randbytes(self.rng.randrange(40)),
        )

    def script_hex(self) -> Any:
        """The same in hex."""
        known = self.rng.choice(self.vectors.scripts) if self.vectors.scripts else "51"
        return self.pick(
            lambda: self.script().hex(),
            lambda: self.script().hex(),
            known,
            lambda: _changed(self.rng, self.script().hex()),
        )

    def pubkey(self) -> Any:
        """A public key in hex: in every form and with faults."""
        key = self.rng.choice(PUBKEYS).hex()
        long = self.rng.choice(UNCOMPRESSED).hex()
        return self.pick(
            key,
            key,
            key,
            long,
            key[2:],
            "02" + "00" * 32,
            "02" + "ff" * 32,
            "06" + long[2:],
            "04" + "11" * 64,
            lambda: _changed(self.rng, key),
            "05" + key[2:],
            "zz" + key[2:],
        )

    def private_key(self) -> Any:
        """A private key as text."""
        seed = self.rng.randrange(8)
        return self.pick(
            wif(seed),
            wif(seed),
            wif(seed),
            lambda: wif(seed, compressed=False),
            lambda: wif(seed, prefix=0x80),
            lambda: _changed(self.rng, wif(seed)),
            base58check_encode(b"\xef" + b"\xff" * 32 + b"\x01"),
            base58check_encode(b"\xef" + bytes(32) + b"\x01"),
            TPRV,
        )

    def good_key(self) -> str:
        """A private key of a coin's owner."""
        return wif(self.rng.randrange(18))

    def address(self) -> Any:
        """An address, of another network, damaged."""
        script = self.rng.choice(self.world.coins).how.script_pubkey
        found = address_for_script(script, self.world.params)
        known = str(found) if found else "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
        more = self.vectors.addresses or list(BAD_ADDRESSES)
        return self.pick(
            known,
            known,
            known,
            lambda: self.rng.choice(MAINNET_ADDRESSES),
            lambda: self.rng.choice(BAD_ADDRESSES),
            lambda: _changed(self.rng, known),
            lambda: self.rng.choice(more),
        )

    def good_address(self) -> Any:
        """An address of this network."""
        coin = self.rng.choice([coin for coin in self.world.coins if coin.how.template.startswith("p2w")])
        return str(address_for_script(coin.how.script_pubkey, self.world.params))

    def key_expression(self) -> Any:
        """A key as descriptors write it."""
        key = self.rng.choice(PUBKEYS).hex()
        paths = (
            "",
            "/0",
            "/*",
            "/0/1h/*",
            "/1'/*'",
            "/<0;1>/*",
            "/<0;1;2>",
            "/2147483648",
            "/x",
            "//",
            "/*/0",
            "/<0>",
            "/<0;0>",
            "/0h/0",
        )
        origin = self.pick(
            "", "", "", "[d34db33f/44h/0h]", "[d34db33f]", "[d34d]", "[d34db33f/]", "[zzzzzzzz/1]", "[d34db33f/1'/2]"
        )
        body = self.pick(
            key,
            key,
            key,
            lambda: wif(self.rng.randrange(5)),
            lambda: TPUB + self.rng.choice(paths),
            lambda: TPRV + self.rng.choice(paths),
            lambda: XPUB + self.rng.choice(paths),
            self.pubkey,
            self.private_key,
        )
        return str(origin + body)

    def _expression(self, depth: int) -> str:
        key, rng = self.key_expression, self.rng
        n = rng.randrange(1, 4)
        keys = ",".join(key() for _ in range(n))
        leaves: list[Callable[[], str]] = [
            lambda: f"pk({key()})",
            lambda: f"pkh({key()})",
            lambda: f"wpkh({key()})",
            lambda: f"multi({rng.randrange(4)},{keys})",
            lambda: f"sortedmulti({rng.randrange(4)},{keys})",
            lambda: f"combo({key()})",
            lambda: f"addr({self.address()})",
            lambda: f"raw({self.script_hex()})",
            lambda: f"tr({key()})",
            lambda: f"rawtr({key()})",
            lambda: f"multi_a({rng.randrange(4)},{keys})",
            lambda: f"sortedmulti_a({rng.randrange(4)},{keys})",
            lambda: f"and_v(v:pk({key()}),older({rng.choice((0, 1, 100, 2**31, 65535, 4194305))}))",
            lambda: f"or_d(pk({key()}),and_v(v:pkh({key()}),after({rng.choice((0, 1, 500000000, 2**31))})))",
            lambda: f"thresh({rng.randrange(4)},pk({key()}),s:pk({key()}),sln:older(10))",
            lambda: f"andor(pk({key()}),sha256({'ab' * 32}),hash160({'cd' * 20}))",
            lambda: f"musig({keys})",
            lambda: f"tr(musig({keys})/0/*)",
            lambda: f"unknown({key()})",
            lambda: key(),
            lambda: "",
        ]
        if depth > 2 or rng.random() < 0.4:
            return rng.choice(leaves)()

        def inner() -> str:
            return self._expression(depth + 1)

        wrappers: list[Callable[[], str]] = [
            lambda: f"sh({inner()})",
            lambda: f"wsh({inner()})",
            lambda: f"tr({key()},{inner()})",
            lambda: f"tr({key()},{{{inner()},{inner()}}})",
            lambda: f"sh(wsh({inner()}))",
        ]
        return rng.choice(wrappers)()

    def descriptor(self) -> Any:
        """A descriptor, right or not, with and without its checksum."""
        text = self.pick(self.good_descriptor, lambda: self._expression(0), lambda: self._expression(0))
        roll = self.rng.random()
        if roll < 0.5 and text.isascii() and text.isprintable() and "#" not in text:
            try:
                text = with_checksum(text)
            except Exception:  # not a text that can have one
                return text
        return _changed(self.rng, text) if roll < 0.1 or roll > 0.95 else text

    def good_descriptor(self) -> Any:
        """A descriptor that is right, without checksum."""
        key = self.rng.choice(PUBKEYS).hex()
        other = self.rng.choice(PUBKEYS).hex()
        return self.pick(
            f"pk({key})",
            f"pkh({key})",
            f"wpkh({key})",
            f"sh(wpkh({key}))",
            f"wsh(multi(1,{key},{other}))",
            f"tr({key[2:]})",
            f"wpkh({TPUB}/0/*)",
            f"tr({TPUB}/<0;1>/*)",
            f"combo({key})",
            "raw(51)",
            f"addr({self.good_address()})",
            f"wpkh([d34db33f/84h/1h/0h]{TPUB}/0/*)",
            f"wpkh({TPRV}/0h/*)",
            f"wpkh({wif(1)})",
            f"tr({key[2:]},{{pk({other}),multi_a(1,{key})}})",
            f"wsh(and_v(v:pk({key}),older(10)))",
        )

    def coin_descriptor(self) -> Any:
        """A descriptor of coins that are there."""
        script = self.rng.choice(self.world.coins).how.script_pubkey.hex()
        return self.pick(
            f"raw({script})",
            "raw(51)",
            f"wpkh({PUBKEYS[1].hex()})",
            f"combo({PUBKEYS[2].hex()})",
            f"tr({PUBKEYS[3].hex()[2:]})",
        )

    def scan_object(self) -> Any:
        """What the scanning methods take."""
        desc = self.pick(self.coin_descriptor, self.coin_descriptor, self.descriptor, self.good_descriptor)
        return self.pick(
            desc, desc, desc, {"desc": desc}, {"desc": desc, "range": self.range()}, {"range": 1}, self.junk
        )

    def range(self) -> Any:
        """A range of child keys."""
        return self.pick(
            0,
            2,
            -1,
            [0, 2],
            [1, 3],
            [2, 1],
            [0],
            [0, 1, 2],
            [-1, 2],
            [2**31 - 2, 2**31 - 1],
            [0, 2**31],
            2**31 - 1,
            2**31,
            [0, 1000001],
            "1",
            [0.5, 1],
            ["0", 1],
            None,
            [2**63, 2**63 + 1],
        )

    # -- transactions --------------------------------------------------------------------------------------------

    def coin(self) -> Coin:
        """A coin that can be spent."""
        return self.rng.choice(self.world.coins)

    def good_tx(self) -> Tx:
        """A transaction that the mempool takes, as a rule."""
        return spend(
            [self.coin()], [self.rng.choice(self.world.coins).how.script_pubkey], self.rng.randrange(200, 5000)
        )

    def tx(self) -> Tx:
        """A transaction with or without a fault."""
        rng, world = self.rng, self.world
        coin = self.coin()
        script = self.script
        pool = rng.choice(self.mempool_txs)
        ghost = Coin(rng.randbytes(36), 100_000, anyone())

        def small(n: int) -> Tx:
            return spend([coin], [coin.how.script_pubkey] * n, 1000)

        makers: list[Callable[[], Tx]] = [
            self.good_tx,
            self.good_tx,
            lambda: spend([coin], [coin.how.script_pubkey], 0),
            lambda: pool,
            lambda: rng.choice(world.txs),
            lambda: spend([coin], [coin.how.script_pubkey], coin.value // 2),
            lambda: spend([coin], [coin.how.script_pubkey], -1000),
            lambda: spend([rng.choice(world.spent)], [b"\x51"], 1000),
            lambda: spend([rng.choice(world.immature)], [b"\x51"], 1000),
            lambda: spend([ghost], [b"\x51"], 1000),
            lambda: spend([coin, coin], [b"\x51"], 1000),
            lambda: unsigned(small(1)),
            lambda: spend([coin], [script()], 1000),
            lambda: spend([coin], [script(), script()], 1000),
            lambda: spend([coin], [b"\x6a"] * 3, 1000),
            lambda: spend([coin], [coin.how.script_pubkey] * 2, 0, values=[coin.value - 1100, 100]),
            lambda: spend([coin], [coin.how.script_pubkey], 1000, version=rng.choice((0, 1, 3, 4, 2**32 - 1))),
            lambda: spend(
                [coin],
                [coin.how.script_pubkey],
                1000,
                lock_time=rng.choice((self.world.height + 5, START_TIME * 2, 1)),
                sequence=0,
            ),
            lambda: spend(
                [coin], [coin.how.script_pubkey], 1000, sequence=rng.choice((1, 200, 0x400001, 0x4000FF, 0xFFFFFFFF))
            ),
            lambda: spend([coin], [coin.how.script_pubkey], 1000, values=[2**63 - 1]),
            lambda: spend([coin], [b"\x51"], 1000, values=[-1]),
            lambda: self._damaged(small(1)),
            lambda: self.child(pool),
            lambda: self._rival(pool),
            lambda: small(2),
            lambda: spend([coin], [b"\x51"], 0, values=[21_000_001 * 10**8]),
            lambda: self._no_inputs(),
            lambda: self._no_outputs(coin),
        ]
        return rng.choice(makers)()

    def _damaged(self, tx: Tx) -> Tx:
        """With another signature or witness."""
        sigs = [changed_bytes(self.rng, sig) if sig else b"" for sig in tx.script_sigs]
        witnesses = [[changed_bytes(self.rng, item) for item in stack] for stack in tx.witnesses]
        return Tx(tx.version, tx.prevouts, sigs, tx.sequences, tx.txouts, witnesses, tx.lock_time)

    def child(self, tx: Tx, how: Spendable | None = None) -> Tx:
        """Spends the first output of an unconfirmed one, which may be spent already and need not be ours."""
        value = int.from_bytes(tx.txouts[0][:8], "little")
        how = how or self.rng.choice([coin.how for coin in self.world.coins])
        return spend([Coin(tx.txid + bytes(4), value, how)], [b"\x51"], self.rng.choice((0, 300, 10_000)))

    def _rival(self, tx: Tx) -> Tx:
        """Spends what an unconfirmed one spends."""
        return Tx(
            tx.version,
            tx.prevouts[:1],
            tx.script_sigs[:1],
            tx.sequences[:1],
            tx.txouts[:1],
            tx.witnesses[:1],
            tx.lock_time,
        )

    @staticmethod
    def _no_inputs() -> Tx:
        return Tx(2, [], [], [], [bytes(8) + b"\x01\x51"])

    @staticmethod
    def _no_outputs(coin: Coin) -> Tx:
        return Tx(2, [coin.outpoint], [b""], [0], [])

    def tx_hex(self) -> Any:
        """The same in hex, or damaged."""
        more = self.vectors.transactions
        return self.pick(
            lambda: self.tx().raw.hex(),
            lambda: self.tx().raw.hex(),
            lambda: self.tx().raw.hex(),
            lambda: changed_bytes(self.rng, self.tx().raw).hex(),
            lambda: _changed(self.rng, self.tx().raw.hex()),
            lambda: self.rng.choice(more) if more else "00",
            lambda: unsigned(self.tx()).raw.hex(),
        )

    def good_tx_hex(self) -> str:
        """A right one in hex."""
        return self.good_tx().raw.hex()

    def package(self) -> Any:
        """Transactions for a package."""
        coin = self.coin()
        parent = spend([coin], [b"\x00\x20" + b"\x11" * 32], 500)
        parents = [parent.raw.hex()]
        family = [*parents, self.child(parent).raw.hex()]
        return self.pick(
            family,
            family,
            [self.good_tx_hex()],
            [self.tx_hex(), self.tx_hex()],
            [self.tx_hex()],
            [],
            family[::-1],
            family * 2,
            [self.tx_hex()] * 26,
            [*family, 1],
            [family],
        )

    def signable(self) -> Tx:
        """An unsigned transaction of coins."""
        coins = self.rng.sample(self.world.coins, self.rng.randrange(1, 4))
        return unsigned(spend(coins, [self.rng.choice(self.world.coins).how.script_pubkey], 1000))

    def signable_hex(self) -> Any:
        """In hex."""
        return self.pick(lambda: self.signable().raw.hex(), lambda: self.signable().raw.hex(), self.tx_hex)

    def prevtx(self) -> Any:
        """A previous output for signing."""
        coin = self.coin()
        full = {
            "txid": coin.outpoint[:32][::-1].hex(),
            "vout": int.from_bytes(coin.outpoint[32:], "little"),
            "scriptPubKey": coin.how.script_pubkey.hex(),
            "amount": coin.value / 1e8,
        }
        extra = {**full, "redeemScript": self.script_hex(), "witnessScript": self.script_hex()}
        return self.pick(
            full,
            full,
            extra,
            {**full, "redeemScript": "51"},
            {**full, "scriptPubKey": self.script_hex()},
            {**full, "witnessScript": "51"},
            {**full, "vout": -1},
            {**full, "amount": self.amount()},
        )

    def sighash(self) -> Any:
        """A signature hash type."""
        return self.word(
            "DEFAULT",
            "ALL",
            "NONE",
            "SINGLE",
            "ALL|ANYONECANPAY",
            "NONE|ANYONECANPAY",
            "SINGLE|ANYONECANPAY",
            "all",
            "",
        )

    def tx_input(self) -> Any:
        """An input of a transaction to create."""
        point = self.outpoint()
        return self.pick(
            point,
            point,
            {**point, "sequence": self.pick(0, 1, 2**32 - 1, 2**32, -1, 0.5, "1")},
            {**point, "weight": 1000},
            {**point, "weight": self.junk()},
            {"txid": point["txid"]},
            {"vout": 1},
            {},
        )

    def outputs(self) -> Any:
        """Outputs of a transaction to create."""
        address = self.address
        data = self.pick("00", "", "zz", "abc", "ab" * 100, 1, None, "AB")
        return self.pick(
            {},
            [],
            lambda: {self.good_address(): self.amount()},
            lambda: [{self.good_address(): self.amount()}],
            lambda: [{address(): self.amount()}, {"data": data}],
            {"data": data},
            lambda: [{address(): 1, "data": data}],
            lambda: [{self.good_address(): 0.1}] * 2,
            [{}],
            lambda: [{"data": "00"}, {"data": "01"}],
            lambda: {address(): 0.1, "data": "00"},
            lambda: Raw('{"data":"00","data":"01"}'),
            lambda: Raw(f'{{"{self.good_address()}":1,"{self.good_address()}":2}}'),
            lambda: {self.good_address(): self.junk()},
        )

    def locktime(self) -> Any:
        """A lock time."""
        return self.pick(0, 1, 499999999, 500000000, 2**32 - 1, 2**32, -1)

    # -- psbts, proofs, blocks -----------------------------------------------------------------------------------

    def psbt(self) -> Any:
        """A psbt: made by the nodes, of the vectors, damaged."""
        known = self.rng.choice(self.psbts) if self.psbts else "cHNidP8BAAoAAAAAAAAAAAAAAA=="
        return self.pick(
            known,
            known,
            known,
            lambda: self._damaged_psbt(known),
            lambda: self._damaged_psbt(known),
            lambda: _changed(self.rng, known),
            "cHNidP8=",
        )

    def _damaged_psbt(self, text: str) -> str:
        try:
            raw = base64.b64decode(text)
        except ValueError:
            return text
        return base64.b64encode(changed_bytes(self.rng, raw)).decode()

    def psbt_list(self) -> Any:
        """Several, of one transaction or not."""
        one = self.psbt()
        return self.pick(
            [one, one],
            [one, self.psbt()],
            [one, self._damaged_psbt(one)],
            [one],
            [],
            [one, 1],
            [one, self.psbt(), self.psbt()],
        )

    def proof(self) -> Any:
        """A proof of transactions in a block."""
        known = self.rng.choice(self.proofs) if self.proofs else "00" * 80
        return self.pick(
            known, lambda: _changed(self.rng, known), lambda: changed_bytes(self.rng, bytes.fromhex(known)).hex()
        )

    def message_signature(self) -> Any:
        """Address, signature and message."""
        known = self.rng.choice(self.signatures) if self.signatures else ("", "", "")
        return self.pick(
            list(known),
            [known[0], _changed(self.rng, known[1]), known[2]],
            [self.address(), known[1], known[2]],
            [known[0], known[1], "other"],
        )

    def block(self) -> bytes:
        """A block on the tip, right or wrong, or a known one."""
        world, rng = self.world, self.rng
        tip = bytes.fromhex(world.hashes[-1])[::-1]

        def on_tip(**changes: object) -> bytes:
            return world.block_on(tip, world.height + 1, [], 0, **changes)

        good = on_tip(extra=b"\x01" + rng.randbytes(1))
        tx = self.good_tx()
        makers: list[Callable[[], bytes]] = [
            lambda: good,
            lambda: on_tip(merkle=b"\x11" * 32),
            lambda: on_tip(coinbase_value=10**12),
            lambda: good[:72],
            lambda: on_tip(time=START_TIME),
            lambda: on_tip(time=START_TIME + 10**7),
            lambda: on_tip(version=1),
            lambda: on_tip(extra=b"\x01" * 99),
            lambda: world.block_on(tip, world.height + 1, [tx, tx], 0),
            lambda: world.block_on(tip, world.height + 1, [self.tx()], 0),
            lambda: world.block_on(rng.randbytes(32), world.height + 1, [], 0),
            lambda: world.block_on(tip, world.height, [], 0),
            lambda: world.block_on(tip, world.height + 1, [tx], 0, commit=False),
            lambda: good[:HEADER_SIZE] + b"\0",
            lambda: good + b"\0",
            lambda: changed_bytes(rng, good),
            lambda: good[:76] + rng.randbytes(4) + good[80:],
            lambda: rng.choice(world.blocks),
            lambda: rng.choice(world.side_blocks),
            lambda: rng.choice(world.bad_blocks),
            lambda: world.params.genesis_block,
        ]
        return rng.choice(makers)()

    def block_hex(self) -> Any:
        """In hex."""
        return self.pick(
            lambda: self.block().hex(),
            lambda: self.block().hex(),
            lambda: self.block().hex(),
            lambda: _changed(self.rng, self.block().hex()),
        )

    def header_hex(self) -> Any:
        """A header in hex."""
        return self.pick(
            lambda: self.block()[:HEADER_SIZE].hex(),
            lambda: self.block()[:HEADER_SIZE].hex(),
            lambda: self.block_hex()[:160],
            lambda: _changed(self.rng, self.block()[:HEADER_SIZE].hex()),
        )

    def template_request(self) -> Any:
        """A request of getblocktemplate."""
        rules = self.pick(
            ["segwit"],
            ["segwit"],
            ["segwit"],
            [],
            ["segwit", "signet"],
            ["!segwit"],
            [1],
            [None],
            "segwit",
            ["segwit", "taproot", "csv"],
        )
        block = self.block_hex()
        return self.pick(
            {"rules": rules},
            {"rules": ["segwit"], "mode": self.pick("template", "proposal", "x", 1, None)},
            {"rules": ["segwit"], "mode": "proposal", "data": block},
            {"mode": "proposal", "data": block},
            {"mode": "proposal", "data": self.junk()},
            {"rules": ["segwit"], "capabilities": self.pick(["proposal"], [1], "x", None)},
            {"rules": ["segwit"], "longpollid": self.pick("x", "", None, "0" * 64, "0" * 64 + "x", "z" * 65)},
            {"rules": ["segwit"], "unknown": 1},
            {},
            {"rules": ["segwit"], "data": 1},
        )

    def net_address(self) -> Any:
        """A peer's address."""
        return self.pick(
            "1.2.3.4",
            "1.2.3.4:8333",
            "127.0.0.1:1",
            "[::1]:8333",
            "::1",
            "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion",
            "1.2.3.4:99999",
            "1.2.3.4:abc",
            "localhost",
            "",
            "1.2.3",
            "1.2.3.4:",
            "fc00::1",
            "a b",
            "1.2.3.4:0",
            "0177.0.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p",
            "[1.2.3.4]:8333",
            "::ffff:1.2.3.4",
            "2001:db8::1",
            "1.2.3.4:-1",
            "[::1",
            "::1]",
            "1.2.3.4 ",
            "example.invalid:80",
        )

    def subnet(self) -> Any:
        """A network."""
        mask = self.pick(
            "/24",
            "/0",
            "/32",
            "/33",
            "/-1",
            "/",
            "/255.255.255.0",
            "/255.0.255.0",
            "/x",
            "/128",
            "/129",
            "",
            "",
            "/ 8",
            "/+8",
            "/08",
        )
        return self.net_address() + mask

    def path(self) -> Any:
        """A file name relative to the node's directory, new or not there."""
        return self.pick("missing", "nowhere/missing", "", ".", "..", "a\0b", "x" * 300, "blocks", "mempool.dat", "é")

    def message(self) -> Any:
        """A text to sign."""
        return self.pick("", "hello", "é☃", "\0", "a" * 300, " ")

    def spend_points(self) -> Any:
        """For gettxspendingprevout."""
        return self.pick(
            [self.outpoint()],
            [self.outpoint(), self.outpoint()],
            [],
            [{**self.outpoint(), "x": 1}],
            [{"txid": self.txid()}],
            [self.junk()],
        )

    def stats(self) -> Any:
        """Names of statistics."""
        names = (
            "avgfee",
            "height",
            "txs",
            "feerate_percentiles",
            "utxo_size_inc_actual",
            "blockhash",
            "swtxs",
            "x",
            "",
            "AVGFEE",
        )
        return [self.rng.choice(names) for _ in range(self.rng.randrange(4))]

    def categories(self) -> Any:
        """Log categories."""
        names = (
            "net",
            "all",
            "none",
            "1",
            "0",
            "",
            "validation",
            "mempool",
            "NET",
            "x",
            "libevent",
            "leveldb",
            "walletdb",
            "ipc",
            "lock",
            "kernel",
        )
        return [self.rng.choice(names) for _ in range(self.rng.randrange(3))]

    def txid_list(self) -> Any:
        """Transactions of a block."""
        tx = self.rng.choice(self.world.txs).txid[::-1].hex()
        return self.pick([tx], [tx], [tx, tx], [], [self.txid()], [self.txid(), self.txid()], [1], [tx, self.txid()])

    def key_list(self) -> Any:
        """Public keys for multisig."""
        return [self.pubkey() for _ in range(self.pick(0, 1, 2, 3, 3, 3, 15, 16, 20, 21))]

    def generate_list(self) -> Any:
        """Transactions of a block to be."""
        return self.pick(
            [],
            [],
            [self.pool_txid()],
            [self.good_tx_hex()],
            [self.tx_hex()],
            [self.txid()],
            ["zz"],
            [""],
            [1],
            [self.pool_txid()] * 2,
        )

    def output_script(self) -> Any:
        """An address or descriptor."""
        return self.pick(self.address, self.good_address, self.descriptor, self.good_descriptor)
