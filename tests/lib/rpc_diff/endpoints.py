"""Where requests are sent to: paths that are an endpoint, nearly one, or none; with every verb."""

from __future__ import annotations

from collections.abc import Iterator

from .text import request
from .values import Values

VERBS = ("POST", "POST", "POST", "GET", "PUT", "DELETE", "OPTIONS", "PATCH", "post")
PATHS = (
    "/", "//", "/?", "/?a=b", "/?%", "/#", "/%2F", "/.", "/..", "/index.html", "/rest", "/rest/", "/rest/x",
    "/wallet", "/wallet/", "/wallet//", "/wallet/x", "/wallet/x/", "/wallet/x/y", "/wallet/x?y", "/wallet/?",
    "/wallet/%78",
    "/wallet/%", "/wallet/%zz", "/wallet/%00", "/wallet/%C3%A9", "/wallet/%ff", "/wallet/..",
    "/wallet/../../x", "/wallet/x%20","/wallet/x%2Fy", "/wallet/+", "/wallet/" + "x" * 3000, "/Wallet/x", "/walletx",
    "/wallet/x#y", "*", "x", "http://h/",
    "http://h/wallet/x", "/wallet/x;y",
)  # fmt: skip
CALLS = (
    request("getblockcount", []),
    request("getblockhash", [0]),
    request("getwalletinfo", []),
    request("nosuch", []),
    request("getblockhash", ["x"]),
    '{"jsonrpc":"2.0","method":"getblockcount"}',
    '{"jsonrpc":"2.0","method":"getblockhash","params":[-1],"id":1}',
    '[{"method":"getblockcount","id":1},{"method":"nosuch","id":2}]',
    "[]",
    "",
    "x",
)


def paths(values: Values, cases: int) -> Iterator[tuple[str, str, str | None]]:
    """Every path with a right call, then ``cases`` times some of all."""
    rng = values.rng
    for path in PATHS:
        yield "POST", path, CALLS[0]
    for _ in range(cases * 10):
        yield rng.choice(VERBS), rng.choice(PATHS), rng.choice(CALLS)
