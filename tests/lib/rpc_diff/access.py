"""Who may ask what: users of every kind, what each is allowed, and how each shows who it is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import time
from collections.abc import Callable, Iterator
from random import Random

from .asking import Asker, Plan, Report
from .compare import Answer
from .nodes import Node
from .text import request

SALT = "50358aa884c841648e0700b073c32b2e"
USERS = ("alice", "bob", "carol", "dave", "", "a b", "é", "al")
WHITELISTS = (
    "alice:getblockcount",
    "alice:getblockcount,getbestblockhash",
    "alice:getblockcount, getbestblockhash ,,",
    "alice:getblockcount\tgetbestblockhash",
    "alice:GETBLOCKCOUNT",
    "alice:",
    "alice",
    "alice:a:getblockcount",
    "bob:getbestblockhash",
    "bob:getblockcount,getbestblockhash,getblockhash",
    "bob:echo",
    ":getblockcount",
    "nobody:getblockcount",
    "",
    ",",
    "é:getblockcount",
)
DEFAULTS: tuple[tuple[str, ...], ...] = ((), (), ("-rpcwhitelistdefault=0",), ("-rpcwhitelistdefault=1",))
OWN = "-rpcwhitelist=fuzz:getblockcount,getbestblockhash,echo,getblockhash,nosuch"  # the run itself asks, too
BODIES = (
    request("getblockcount", []),
    request("getbestblockhash", []),
    request("echo", [1]),
    request("nosuch", []),
    request("GETBLOCKCOUNT", []),
    request("getblockhash", [0]),
    '{"jsonrpc":"2.0","method":"getblockcount","id":1}',
    '{"jsonrpc":"2.0","method":"getbestblockhash"}',
    '{"method":1,"id":1}',
    '{"id":1}',
    "{}",
    "[]",
    "",
    "x",
    "1",
    "[1]",
    '[{"method":"getblockcount","id":1},{"method":"getbestblockhash","id":2}]',
    '[{"method":"getbestblockhash","id":1},{"jsonrpc":"2.0","method":"getblockcount","id":2}]',
    '[{"jsonrpc":"2.0","method":"getblockcount"},{"jsonrpc":"2.0","method":"echo"}]',
    '[{"method":1}]',
    '[{"method":null}]',
    "[null]",
    "[[]]",
    '[{"method":"getblockcount","id":1},1]',
)


def rpcauth(user: str, password: str) -> str:
    """The option's value, as share/rpcauth of Core makes it."""
    digest = hmac.new(SALT.encode(), password.encode(), hashlib.sha256).hexdigest()
    return f"{user}:{SALT}${digest}"


def _plans(rng: Random) -> Iterator[tuple[str, ...]]:
    """Options of one pair of nodes after the other, without end."""
    while True:
        users = [f"-rpcauth={rpcauth(user, 'pw')}" for user in rng.sample(USERS, 4)]
        users.append(f"-rpcauth={rpcauth('alice', 'other')}")  # a user twice
        users.append(f"-rpcauth={rpcauth('empty', '')}")
        users.append(f"-rpcauth={rpcauth('c', 'p:w')}")
        lists = [f"-rpcwhitelist={text}" for text in rng.sample(WHITELISTS, rng.randrange(6))]
        own = [OWN] if lists or rng.random() < 0.3 else []
        yield (*users, *rng.choice(DEFAULTS), *own, *lists)


def basic(text: str) -> str:
    """A header for this user and password."""
    return "Basic " + base64.b64encode(text.encode()).decode()


LOGINS: tuple[str | None, ...] = (
    *(basic(f"{user}:pw") for user in USERS),
    *map(basic, ("alice:other", "alice:", "alice", "alice:pw ", "Alice:pw", "alice:pwx", "alice:p", "empty:", "empty",
                 "c:p:w", "c:p", "co:lon:pw", ":", "", ":pw", "fuzz:fuzz", "fuzz:fuz", "fuzz:fuzz:", "__cookie__:x",
                 "alice:pw\0", "alice\0:pw", "alice:" + "p" * 5000)),
    basic("alice:pw") + "=", basic("alice:pw").rstrip("="), basic("alice:pw").replace("Basic", "basic"),
    "Basic", "Basic ", "Basic *", "Bearer alice:pw", "alice:pw", "", None,
)  # fmt: skip


def run(make: Callable[[], list[Node]], report: Report, plan: Plan, rng: Random) -> None:
    """``make`` gives new nodes. A few sets of options; each login with each body, as far as it is let in."""
    deadline = time.monotonic() + plan.seconds
    for _, options in zip(range(plan.rounds), _plans(rng), strict=False):
        nodes = make()
        try:
            for node in nodes:
                node.options[:] = options
                node.start()
            for login in LOGINS:
                if time.monotonic() > deadline:
                    return
                _try(Asker(nodes, report), login, " ".join(options))
        finally:
            for node in nodes:
                node.stop()


def _try(asker: Asker, login: str | None, options: str) -> None:
    for body in BODIES:
        answers = asker.ask(lambda node, body=body: node.send("POST", "/", body, login))  # type: ignore[misc]
        asker.compare("access", f"{options} {login} {body}", answers)
        if all(isinstance(answer, Answer) and answer.status == http.client.UNAUTHORIZED for answer in answers):
            break  # the next takes its time, too
    answers = asker.ask(lambda node: node.send("GET", "/rest/blockhashbyheight/0.hex", None, login))
    asker.compare("access", f"{options} REST {login}", answers)
