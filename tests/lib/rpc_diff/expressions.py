"""Descriptors grown at random: every function, Miniscript of every fragment, trees of leaves, keys of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from btcnode.descriptors.checksum import with_checksum
from btcnode.script.signatures import pubkey_create
from btcnode.testing.templates import seckey

from .cases import Case
from .values import TPRV, TPUB, XPUB, Values
from .world import PUBKEYS, UNCOMPRESSED, wif

DEEPEST = 4
WRAPPERS = "asctdvjnlu"
MANY_KEYS = [pubkey_create(seckey(seed)) for seed in range(40)]  # of one key twice no Miniscript is sane
LOCKS = (0, 1, 2, 10, 100, 144, 65535, 65536, 4194304, 4194305, 499999999, 500000000, 2**31 - 1, 2**31, 2**32)
ODD_NUMBERS = ("", "-1", "+1", "01", " 1", "1 ", "0x1", "1.0", "a")
ORIGINS = ("", "", "", "[d34db33f]", "[d34db33f/44h/0h]", "[d34db33f/1'/2h]", "[D34DB33F/1H]", "[d34db33f/2147483648]",
           "[d34db33f/]", "[d34db3f/1]", "[d34db33f", "[]", "[d34db33f][d34db33f]")  # fmt: skip
PATHS = ("", "", "/0", "/*", "/*", "/0/*", "/0h/*h", "/1'/*'", "/<0;1>/*", "/<0;1>/<2;3>", "/<0;1;2>/0", "/<1h;2'>",
         "/<0>", "/<0;0>", "/<;>", "/2147483647", "/2147483648", "/-1", "/*/*", "/", "//", "/x", "/0H",
         "/**")  # fmt: skip


class Grower:
    """Expressions from a seed. Most are of the right shape, none is made to be of the right type."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def key(self, *, xonly: bool = False) -> str:
        """A key with origin and path."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.55:
            key = rng.choice(PUBKEYS).hex()
            body = key[2:] if xonly or rng.random() < 0.05 else key
        elif roll < 0.65:
            body = rng.choice((wif(rng.randrange(5)), wif(1, compressed=False), wif(1, prefix=0x80)))
        elif roll < 0.9:
            body = rng.choice((TPUB, TPUB, TPRV, XPUB)) + rng.choice(PATHS)
        elif roll < 0.95:
            some = ",".join(self.key() for _ in range(rng.choice((0, 1, 2, 2, 3))))
            return f"musig({some})" + rng.choice(PATHS)
        else:
            body = rng.choice((rng.choice(UNCOMPRESSED).hex(), "", "00" * 33, "02" + "ff" * 32, "x", "04" + "aa" * 32))
        return rng.choice(ORIGINS) + body

    def number(self, high: int) -> str:
        """A small count, rarely an odd one."""
        return self.rng.choice(ODD_NUMBERS) if self.rng.random() < 0.04 else str(self.rng.randint(0, high))

    def fragment(self, depth: int, *, xonly: bool) -> str:
        """Miniscript."""
        rng = self.rng

        def sub() -> str:
            return self.fragment(depth + 1, xonly=xonly)

        def keys() -> str:
            return ",".join(self.key(xonly=xonly) for _ in range(rng.choice((1, 2, 2, 3, 5))))

        leaves: list[Callable[[], str]] = [
            lambda: f"pk({self.key(xonly=xonly)})",
            lambda: f"pkh({self.key(xonly=xonly)})",
            lambda: f"pk_k({self.key(xonly=xonly)})",
            lambda: f"pk_h({self.key(xonly=xonly)})",
            lambda: f"older({rng.choice(LOCKS)})",
            lambda: f"after({rng.choice(LOCKS)})",
            lambda: f"{rng.choice(('sha256', 'hash256'))}({rng.randbytes(rng.choice((32, 32, 32, 20))).hex()})",
            lambda: f"{rng.choice(('ripemd160', 'hash160'))}({rng.randbytes(rng.choice((20, 20, 20, 32))).hex()})",
            lambda: rng.choice("0011x"),
            lambda: f"multi({self.number(3)},{keys()})",
            lambda: f"multi_a({self.number(3)},{keys()})",
            lambda: f"sortedmulti{rng.choice(('', '_a'))}({self.number(3)},{keys()})",
        ]
        nodes: list[Callable[[], str]] = [
            lambda: f"and_v(v:{sub()},{sub()})",
            lambda: f"and_b({sub()},{rng.choice('as')}:{sub()})",
            lambda: f"and_n({sub()},{sub()})",
            lambda: f"or_b({sub()},{rng.choice('as')}:{sub()})",
            lambda: f"or_c({sub()},v:{sub()})",
            lambda: f"or_d({sub()},{sub()})",
            lambda: f"or_i({sub()},{sub()})",
            lambda: f"andor({sub()},{sub()},{sub()})",
            lambda: f"thresh({self.number(3)},{sub()},{rng.choice('as')}:{sub()},{rng.choice(('a', 'sln'))}:{sub()})",
            lambda: f"and_v({sub()})",
            lambda: f"thresh({sub()})",
        ]
        text = rng.choice(leaves if depth >= DEEPEST or rng.random() < 0.45 else nodes)()
        if rng.random() < 0.25:
            wrap = "".join(rng.choice(WRAPPERS) for _ in range(rng.choice((1, 1, 2, 3))))
            text = f"{wrap}:{text}"
        return text

    def typed(self, kind: str, depth: int, *, xonly: bool) -> str:
        """Miniscript that is of a type: B, V, W, or D for a B that can be dissatisfied and leaves one."""
        rng = self.rng

        def sub(kind: str) -> str:
            return self.typed(kind, depth + 1, xonly=xonly)

        def key() -> str:
            return rng.choice(MANY_KEYS).hex()[2 if xonly else 0 :]

        def several() -> str:
            keys = [key() for _ in range(rng.choice((1, 2, 3)))]
            return f"{'multi_a' if xonly else 'multi'}({rng.randint(1, len(keys))},{','.join(keys)})"

        if kind == "V":
            choices: list[Callable[[], str]] = [
                lambda: f"v:{sub('B')}",
                lambda: f"and_v({sub('V')},{sub('V')})",
                lambda: f"or_c({sub('D')},{sub('V')})",
            ]
            return self._wrapped(choices[0]() if depth > DEEPEST else rng.choice((choices[0], *choices))())
        if kind == "W":
            return self._wrapped(rng.choice((lambda: f"s:pk({key()})", lambda: f"a:{sub('D')}"))())
        leaves: list[Callable[[], str]] = [
            lambda: f"pk({key()})",
            lambda: f"pkh({key()})",
            several,
        ]
        nodes: list[Callable[[], str]] = [
            lambda: f"or_b({sub('D')},{sub('W')})",
            lambda: f"and_b({sub('D')},{sub('W')})",
            lambda: f"or_d({sub('D')},{sub(kind)})",
            lambda: f"or_i({sub(kind)},{sub('B')})",
            lambda: f"andor({sub('D')},{sub('B')},{sub(kind)})",
            lambda: f"thresh({rng.randint(1, 3)},{sub('D')},{sub('W')},{sub('W')})",
            lambda: f"and_n({sub('D')},{sub('B')})",
            lambda: f"j:and_v({sub('V')},{sub('D')})",
            lambda: f"l:{sub(kind)}",
            lambda: f"u:{sub(kind)}",
            lambda: f"dv:older({rng.choice(LOCKS[1:8])})",
        ]
        if kind == "B":
            leaves += [
                lambda: f"older({rng.choice(LOCKS[1:12])})",
                lambda: f"after({rng.choice(LOCKS[1:13])})",
                lambda: f"{rng.choice(('sha256', 'hash256'))}({rng.randbytes(32).hex()})",
                lambda: f"{rng.choice(('ripemd160', 'hash160'))}({rng.randbytes(20).hex()})",
            ]
            nodes += [lambda: f"and_v({sub('V')},{sub('B')})"] * 4 + [lambda: f"n:{sub('B')}", lambda: f"t:{sub('V')}"]
        return self._wrapped(rng.choice(leaves if depth >= DEEPEST or rng.random() < 0.4 else nodes)())

    @staticmethod
    def _wrapped(text: str) -> str:
        """Wrappers of wrappers written together: ``s:a:x`` is ``sa:x``."""
        head, colon, rest = text.partition(":")
        more, second, tail = rest.partition(":")
        if colon and second and head.isalpha() and more.isalpha():
            return f"{head}{more}:{tail}"
        return text

    def tree(self, depth: int = 0) -> str:
        """Leaves of a taproot output."""
        if depth > 3 or self.rng.random() < 0.6:
            return self.fragment(DEEPEST - 2, xonly=self.rng.random() < 0.8)
        return "{" + self.tree(depth + 1) + "," + self.tree(depth + 1) + "}"

    def descriptor(self) -> str:
        """A descriptor."""
        rng = self.rng

        def keys(*counts: int) -> str:
            return ",".join(self.key() for _ in range(rng.choice(counts)))

        makers: list[Callable[[], str]] = [
            lambda: f"wsh({self.fragment(0, xonly=False)})",
            lambda: f"wsh({self.typed('B', 0, xonly=False)})",
            lambda: f"tr({self.key(xonly=True)},{self.typed('B', 0, xonly=True)})",
            lambda: f"tr({self.key(xonly=rng.random() < 0.7)},{self.tree()})",
            lambda: f"tr({self.key(xonly=rng.random() < 0.7)},{self.tree()})",
            lambda: f"tr({self.key(xonly=True)})",
            lambda: f"sh(wsh({self.fragment(1, xonly=False)}))",
            lambda: f"sh({self.fragment(2, xonly=False)})",
            lambda: f"{rng.choice(('pk', 'pkh', 'wpkh', 'combo', 'rawtr', 'tr'))}({self.key()})",
            lambda: f"sh(wpkh({self.key()}))",
            lambda: f"sh(multi({self.number(16)},{keys(1, 2, 15, 16, 20, 21)}))",
            lambda: f"multi({self.number(3)},{keys(1, 3, 4)})",
        ]
        text = rng.choice(makers)()
        if rng.random() < 0.06:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(("", "(", ")", ",", "{", "}", ":", "#", " ", "'", "h", "/")) + text[at + 1 :]
        return text


def cases(values: Values, count: int) -> Iterator[Case]:
    """``count`` times fifty descriptors: what they are, their addresses, and psbts that they sign."""
    grower = Grower(values.rng)
    for _ in range(count * 50):
        text = grower.descriptor()
        yield Case("getdescriptorinfo", [text])
        summed = with_checksum(text) if "#" not in text else text
        yield Case("deriveaddresses", [summed, *([[0, 1]] if "*" in text else [])])
        if values.rng.random() < 0.1:
            yield Case("getdescriptorinfo", [summed])
            yield Case("scantxoutset", ["start", [{"desc": text, "range": 1}]])
            yield Case("descriptorprocesspsbt", [values.rng.choice(values.psbts), [text]])
