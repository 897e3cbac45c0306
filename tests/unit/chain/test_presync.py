"""The low-work header synchronisation: honest chains pass, floods and switched chains do not."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from btcnode.chain.header_tree import HeaderTree
from btcnode.chain.presync import HeadersSync, PresyncState
from btcnode.networks.parameters import HeadersSync as SyncParams
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_STRUCT, header_hash
from tests.lib.ancestry import ListAncestry

REGTEST = params_for("regtest")
SMALL = replace(REGTEST, headers_sync=SyncParams(commitment_period=5, redownload_buffer_size=60))
BITS = 0x207FFFFF
MESSAGE = 2000
NOW = 1_600_000_000


@cache
def chain_of(length: int, salt: int = 0, start: bytes = REGTEST.genesis_block[:80]) -> list[bytes]:
    """Headers that follow each other, without proof of work: the synchronisation leaves that to its caller."""
    headers = []
    prev, time = header_hash(start), int.from_bytes(start[68:72], "little")
    root = salt.to_bytes(32, "little")
    for _ in range(length):
        time += 600
        raw = HEADER_STRUCT.pack(0x20000000, prev, root, time, BITS, 0)
        prev = header_hash(raw)
        headers.append(raw)
    return headers


def start_sync(minimum_work: int, params: NetworkParams = SMALL, *, seed: int = 1, now: int = NOW) -> HeadersSync:
    return HeadersSync(params, HeaderTree(params), 0, minimum_work, rng=random.Random(seed), now=now)


def state_of(sync: HeadersSync) -> PresyncState:
    return sync.state


def serve(sync: HeadersSync, chain: list[bytes], *, size: int = 100) -> list[bytes]:
    """Answer every getheaders from ``chain`` until the synchronisation ends; returns what it released."""
    places = {header_hash(raw): i + 1 for i, raw in enumerate(chain)}
    released: list[bytes] = []
    while True:
        at = places.get(sync.next_locator()[0], 0)
        message = chain[at : at + size]
        if not message:
            return released
        result = sync.process_next_headers(message, len(message) == size)
        released += result.headers
        assert result.request_more == (not sync.finished)
        if sync.finished:
            return released


def test_honest_chain_is_released_whole_and_in_order() -> None:
    chain = chain_of(1000)
    sync = start_sync(2 + 2 * 990)
    assert serve(sync, chain) == chain
    assert sync.finished and sync.memory == 0
    with pytest.raises(RuntimeError):
        sync.next_locator()
    with pytest.raises(RuntimeError):
        sync.process_next_headers(chain[:1], True)


def test_two_phases() -> None:
    chain = chain_of(400)
    sync = start_sync(2 + 2 * 300)
    locator = sync.next_locator()
    assert locator == [REGTEST.genesis_hash] * 2 and sync.state is PresyncState.PRESYNC
    for start in (0, 100):
        assert sync.process_next_headers(chain[start : start + 100], True) == ([], True, True)
    assert sync.height == 200 and sync.work == 402 and sync.time == int.from_bytes(chain[199][68:72], "little")
    assert sync.next_locator()[0] == header_hash(chain[199])
    assert sync.process_next_headers(chain[200:300], True) == ([], True, True)
    assert state_of(sync) is PresyncState.REDOWNLOAD and sync.next_locator()[0] == REGTEST.genesis_hash
    # the buffer keeps 60 back
    assert sync.process_next_headers(chain[:100], True).headers == chain[:40]
    assert sync.process_next_headers(chain[100:200], True).headers == chain[40:140]
    # everything is released once the work is reached, also what the peer added since
    result = sync.process_next_headers(chain[200:330], True)
    assert result.headers == chain[140:330] and result.success and not result.request_more and sync.finished


def test_work_reached_in_a_short_message_still_redownloads() -> None:
    sync = start_sync(2 + 2 * 50)
    assert sync.process_next_headers(chain_of(50), False) == ([], True, True)
    assert sync.process_next_headers(chain_of(50), False).headers == chain_of(50)


def test_chain_that_ends_too_early() -> None:
    sync = start_sync(10_000)
    assert sync.process_next_headers(chain_of(100), True).request_more
    result = sync.process_next_headers(chain_of(150)[100:], False)
    assert result == ([], True, False) and sync.finished


def test_short_answer_in_the_second_download_releases_what_is_proven() -> None:
    chain = chain_of(300)
    sync = start_sync(2 + 2 * 300)
    sync.process_next_headers(chain, True)
    result = sync.process_next_headers(chain[:100], False)
    assert result == (chain[:40], True, False) and sync.finished


@pytest.mark.parametrize("phase", ["presync", "redownload"])
def test_gap(phase: str) -> None:
    chain = chain_of(300)
    sync = start_sync(2 + 2 * (300 if phase == "presync" else 100))
    sync.process_next_headers(chain[:100], True)
    assert (sync.state is PresyncState.REDOWNLOAD) == (phase == "redownload")
    assert sync.process_next_headers(chain[150:200], True) == ([], False, False)
    assert sync.finished


def test_another_chain_in_the_second_download() -> None:
    """A chain switched after the first phase fails; 60 buffered headers are 12 bits: 1 in 4096 passes."""
    honest, other = chain_of(1000), chain_of(1000, salt=1)
    passed = 0
    for seed in range(300):
        sync = start_sync(2 + 2 * 1000, seed=seed)
        for start in range(0, 1000, 100):
            sync.process_next_headers(honest[start : start + 100], True)
        assert sync.state is PresyncState.REDOWNLOAD
        released = 0
        for start in range(0, 1000, 100):
            result = sync.process_next_headers(other[start : start + 100], True)
            released += len(result.headers)
            if sync.finished:
                assert not result.success
                break
        passed += released > 0
    assert passed <= 3


def test_difficulty_jump() -> None:
    """Mainnet keeps its target within a period; a jump ends the synchronisation in either phase."""
    params = params_for("mainnet")
    start = params.genesis_block[:80]

    def header(prev: bytes, bits: int) -> bytes:
        return HEADER_STRUCT.pack(1, header_hash(prev), bytes(32), 1231006505 + 600, bits, 0)

    good = header(start, 0x1D00FFFF)
    sync = start_sync(1 << 60, params)
    assert sync.process_next_headers([header(start, 0x1C00FFFF)], True) == ([], False, False)
    sync = start_sync(1 << 60, params)
    assert sync.process_next_headers([good, header(good, 0x1C00FFFF)], True) == ([], False, False)
    sync = start_sync(1 << 32, params)
    assert sync.process_next_headers([good], True).request_more
    assert sync.process_next_headers([header(start, 0x1C00FFFF)], True) == ([], False, False)


def test_chain_longer_than_time_allows() -> None:
    """Six headers per second since the start, plus two hours: 43,200 headers for a peer with no time passed."""
    now = HeaderTree(SMALL).time(0)
    sync = start_sync(1 << 60, now=now)
    limit = 6 * 7200
    message = list(chain_of(MESSAGE))
    total = 0
    while True:
        result = sync.process_next_headers(message, True)
        total += MESSAGE
        if sync.finished:
            break
        message[0] = message[0][:4] + header_hash(message[-1]) + message[0][36:]
    assert not result.success
    assert limit < total <= limit + MESSAGE + SMALL.headers_sync.commitment_period


@pytest.mark.parametrize("network", ["regtest", "testnet3"])
def test_flood_leaves_memory_flat(network: str) -> None:
    """Two million low-work headers from one peer: what is held stays below one kilobyte, nothing is released.

    All headers of a message but the first are the same bytes: only the first one's parent is looked at, so that the
    flood costs the test no hashing. With real chains the same calls are made.
    """
    params = params_for(network)
    sync = start_sync(1 << 100, params)
    template = HEADER_STRUCT.pack(0x20000000, bytes(32), bytes(32), NOW, params.pow_limit_bits, 0)
    message = [template] * MESSAGE
    most = 0
    for _ in range(1000):
        message[0] = template[:4] + sync.next_locator()[0] + template[36:]
        result = sync.process_next_headers(message, True)
        assert result == ([], True, True)
        most = max(most, sync.memory)
    assert sync.height == 2_000_000
    assert most <= 2_000_000 // params.headers_sync.commitment_period // 8 + 1 < 1024


def test_buffer_of_the_second_download_is_bounded() -> None:
    chain = chain_of(30_000)
    sync = start_sync(2 + 2 * 29_000, REGTEST)
    for start in range(0, 30_000, MESSAGE):
        sync.process_next_headers(chain[start : start + MESSAGE], True)
    assert sync.state is PresyncState.REDOWNLOAD
    released = []
    for start in range(0, 30_000, MESSAGE):
        result = sync.process_next_headers(chain[start : start + MESSAGE], True)
        released += result.headers
        assert sync.memory <= 48 * (REGTEST.headers_sync.redownload_buffer_size + MESSAGE) + 100
        if sync.finished:
            break
    assert released == chain


class LateStart(ListAncestry):
    """A tree that begins in the middle of a chain."""

    def locator(self, index: int) -> list[BlockHash]:
        return [self.hash(index)]


def test_real_headers_with_retargets(vectors: Path) -> None:
    """8,000 mainnet headers over three retargets pass from an arbitrary start."""
    data = (vectors / "ckb-bitcoin-spv-testdata" / "headers_822528_830592.bin").read_bytes()
    raws = [data[i : i + 80] for i in range(0, len(data), 80)]
    tree = LateStart(first_height=822_528)
    tree.append(raws[0])
    full = LateStart(first_height=822_528)
    for raw in raws:
        full.append(raw)
    target = full.chainwork(8000)
    sync = HeadersSync(params_for("mainnet"), tree, 0, target, rng=random.Random(3), now=1_800_000_000)
    assert serve(sync, raws[1:], size=MESSAGE) == raws[1:8001]
