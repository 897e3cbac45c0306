"""Requests of the REST interface: every path with every suffix, right and wrong."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from .values import Values

SUFFIXES = (".json", ".hex", ".bin", "", ".xml", ".JSON", ".", "/.json", ".json.hex", ".bin?x=1", "?x.json")


def _stems(values: Values) -> Iterator[str]:
    """Paths without suffix, one of each kind."""
    rng = values.rng
    block, tx, spent = values.blockhash(), values.txid(), values.outpoint()
    count = values.pick("1", "5", "0", "2000", "2001", "-1", "x", "", "1.0", "05", "+5", " 5", "99999999999999999999")
    yield from (
        f"/rest/tx/{tx}",
        f"/rest/block/{block}",
        f"/rest/block/notxdetails/{block}",
        f"/rest/spenttxouts/{block}",
        f"/rest/blockfilter/basic/{block}",
        f"/rest/blockfilter/{values.pick('x', '', 'BASIC')}/{block}",
        "/rest/chaininfo",
        f"/rest/headers/{count}/{block}",
        f"/rest/headers/{block}",
        f"/rest/blockfilterheaders/basic/{block}",
        f"/rest/blockfilterheaders/basic/{count}/{block}",
        f"/rest/blockfilterheaders/x/{block}",
        "/rest/mempool/info",
        "/rest/mempool/contents",
        "/rest/mempool/x",
        "/rest/mempool",
        f"/rest/blockhashbyheight/{values.height()}",
        f"/rest/blockhashbyheight/{values.pick('x', '', '1.0', '01', '+1', ' 1', '1/2')}",
        "/rest/deploymentinfo",
        f"/rest/deploymentinfo/{block}",
        f"/rest/blockpart/{block}",
        "/rest/",
        "/rest",
        "/rest/x",
        "/x",
        "/rest/tx",
        "/rest/tx/",
        "/rest/block/",
        "/rest/headers/",
        "/rest/headers/5",
        "/rest/getutxos",
        "/rest/getutxos/",
        "/rest/spenttxouts/",
    )
    point = f"{spent['txid']}-{spent['vout']}"
    bad = values.pick(f"{tx}-", f"{tx}", f"-{1}", f"{tx}-x", f"{tx}--1", "x-1", f"{tx}-4294967296", f"{tx}-1-2", "")
    yield from (
        f"/rest/getutxos/{point}",
        f"/rest/getutxos/checkmempool/{point}",
        f"/rest/getutxos/checkmempool/{point}/{point}",
        f"/rest/getutxos/{bad}",
        f"/rest/getutxos/checkmempool/{tx}-0",
        "/rest/getutxos/checkmempool",
        "/rest/getutxos/" + "/".join([point] * rng.choice((15, 16))),
    )


def _queries(values: Values) -> Iterator[str]:
    """Query strings and what they stand behind."""
    rng = values.rng
    block = values.active_hash()
    flag = values.pick("true", "false", "1", "0", "", "TRUE", "x", "true&verbose=false", "%74rue")
    count = values.pick("1", "5", "0", "2000", "2001", "-1", "x", "", "1&count=2", "%35", "5%", "5%zz", "5+1")
    yield from (
        f"/rest/mempool/contents.json?verbose={flag}",
        f"/rest/mempool/contents.json?verbose={flag}&mempool_sequence={flag}",
        f"/rest/mempool/contents.json?mempool_sequence={flag}",
        f"/rest/headers/{block}.json?count={count}",
        f"/rest/headers/{block}.hex?count={count}",
        f"/rest/blockfilterheaders/basic/{block}.json?count={count}",
    )
    size = values.pick("0", "1", "80", "100", "-1", "x", "", "99999", "4294967296", "99999999999999999999", "1.5")
    offset = values.pick("0", "1", "80", "-1", "x", "", "99999", "18446744073709551616")
    yield from (
        f"/rest/blockpart/{block}.{rng.choice(('bin', 'hex', 'json', 'x'))}?offset={offset}&size={size}",
        f"/rest/blockpart/{block}.hex?offset={offset}",
        f"/rest/blockpart/{block}.hex?size={size}",
    )


def paths(values: Values, cases: int) -> Iterator[tuple[str, str, str | None]]:
    """``cases`` rounds of verb, path and body."""
    for _ in range(cases):
        for stem in _stems(values):
            for suffix in values.rng.sample(SUFFIXES, 3):
                yield "GET", quote(stem + suffix, safe="/?=&%.-+"), None
        for path in _queries(values):
            yield "GET", quote(path, safe="/?=&%.-+"), None
        height = values.rng.randint(0, values.world.height)
        for suffix in (".bin", ".hex", ".json"):
            yield "GET", f"/rest/block/{values.world.hashes[height]}{suffix}", None
            yield "GET", f"/rest/spenttxouts/{values.world.hashes[height]}{suffix}", None
        for verb in ("POST", "HEAD", "PUT", "DELETE", "OPTIONS"):
            yield verb, "/rest/chaininfo.json", None if verb in ("HEAD", "OPTIONS") else ""
        for body in ("", "x", "zz"):  # outpoints in a body: see docs/differences.md
            yield (
                "POST",
                f"/rest/getutxos{values.rng.choice(('', '/', '/checkmempool'))}{values.rng.choice(SUFFIXES[:4])}",
                body,
            )
