"""The RPC server answers raw requests, and JSON that only looks like it, to the byte as a bitcoind does.

Needs a ``bitcoind``: ``BTCNODE_BITCOIND`` names it, else the PATH is searched. ``BTCNODE_FUZZ_SEED`` and
``BTCNODE_FUZZ_COUNT`` choose other bodies, and more of them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lib.bitcoind import Bitcoind, find_bitcoind
from tests.lib.http_text import BODIES, Answer, BodyClient, bodies, exchange, is_told_apart_on_purpose, requests

SEED = int(os.environ.get("BTCNODE_FUZZ_SEED", "13"))
COUNT = int(os.environ.get("BTCNODE_FUZZ_COUNT", "4000"))


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Where Core answers, and where this node does."""
    daemon = find_bitcoind()
    if daemon is None:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    own = str(Path(sys.executable).with_name("btcnoded"))
    directory = tmp_path_factory.mktemp
    with Bitcoind(daemon, directory("core"), "-rest") as core, Bitcoind(own, directory("node"), "-rest") as node:
        for one in (core, node):
            one.rpc("generatetodescriptor", 5, "raw(51)#8lvh9jxk")
        yield core.port, node.port


def _without_body_of_head(name: str, answer: Answer) -> Answer:
    """Core sends a body after a HEAD request too, which a client takes for the next answer."""
    if not name.startswith("b'HEAD'"):
        return answer
    return Answer(re.sub(rb"\r\n\r\n.*?(?=HTTP/1\.|\Z)", b"\r\n\r\n", answer.data, flags=re.DOTALL), answer.closed)


def test_raw_requests(ports: tuple[int, int]) -> None:
    def ask(item: tuple[str, list[bytes]]) -> str | None:
        name, pieces = item
        theirs, ours = (_without_body_of_head(name, exchange(port, pieces)) for port in ports)
        return None if theirs == ours else f"{name}\n  core {theirs}\n  ours {ours}"

    with ThreadPoolExecutor(8) as pool:
        found = [text for text in pool.map(ask, requests().items()) if text is not None]
    assert not found, "\n".join([f"{len(found)} differ", *found[:20]])


def test_json_bodies(ports: tuple[int, int]) -> None:
    core, node = map(BodyClient, ports)
    found, told = [], 0
    for body in bodies(SEED, COUNT):
        theirs, ours = core.post(body), node.post(body)
        if theirs == ours:
            continue
        if is_told_apart_on_purpose(body):
            told += 1
            continue
        found.append(f"{body!r}\n  core {theirs}\n  ours {ours}")
    core.close()
    node.close()
    assert not found, "\n".join([f"{len(found)} of {COUNT} differ (seed {SEED})", *found[:20]])
    assert told < COUNT // 50


@pytest.mark.parametrize("depth", [510, 511, 512, 513, 5000])
def test_nesting(ports: tuple[int, int], depth: int) -> None:
    core, node = map(BodyClient, ports)
    for body in (
        b'{"id":1,"method":"echo","params":%s}' % (b"[" * depth + b"]" * depth),
        b'{"id":%s,"method":"uptimex"}' % (b'{"a":' * depth + b"1" + b"}" * depth),
        b'[{"id":1,"method":"echo","params":[%s]}]' % (b"[" * (depth - 2) + b"]" * (depth - 2)),
    ):
        assert node.post(body) == core.post(body)
    core.close()
    node.close()


def test_good_bodies_are_answered(ports: tuple[int, int]) -> None:
    node = BodyClient(ports[1])
    statuses = [node.post(body)[0].split()[1] for body in BODIES]
    node.close()
    assert statuses.count(b"200") >= 10
