from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.protocol import effects as fx
from btcnode.protocol.addresses.seeding import named_source
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import ConnectFailed, DnsSeedResult
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.wire.messages import AddrEntry, Verack, Version
from btcnode.wire.netaddr import NetAddress, Network
from tests.lib.protocol_bench import Bench

FIXED = [NetAddress(Network.IPV4, bytes((30 + i, 1, 1, 1)), 8333) for i in range(20)]
ONION = NetAddress(Network.TORV3, bytes(range(32)), 8333)


def bench_of(params: NetworkParams, **options: object) -> Bench:
    config = ProtocolConfig(**options)  # type: ignore[arg-type]
    return Bench(params, config=config, fixed_seeds=lambda: [*FIXED, ONION])


def lines(bench: Bench) -> list[str]:
    return [line.text for line in bench.log]


def let_fail(bench: Bench, seconds: int) -> None:
    for _ in range(seconds):
        bench.wait(1)
        for effect in bench.all(fx.Connect):
            bench.step(ConnectFailed(effect.attempt, "refused"))
        for seeds in bench.all(fx.ResolveSeeds):
            for name in seeds.names:
                bench.step(DnsSeedResult(name, ()))


def test_fixed_seeds_at_once_when_there_is_nothing_else(params: NetworkParams) -> None:
    bench = bench_of(params, dns_seed=False, fixed_seeds=True)
    bench.wait(1)
    assert any(text.startswith("Adding fixed seeds as -dnsseed=0") for text in lines(bench))
    assert "Added 20 fixed seeds from reachable networks." in lines(bench)
    assert len(bench.book) == 20
    assert ONION not in bench.book
    assert all(UNIX_START - 15 * 86400 < e.time < UNIX_START - 6 * 86400 for e in bench.book.order)
    assert bench.book.order[0].source == named_source("fixedseeds")


def test_fixed_seeds_wait_for_other_sources(params: NetworkParams) -> None:
    bench = bench_of(params, dns_seed=False, fixed_seeds=True, add_nodes=("10.0.0.1:1",))
    let_fail(bench, 58)
    assert not len(bench.book)
    let_fail(bench, 5)
    assert any(text.startswith("Adding fixed seeds as 60 seconds have passed") for text in lines(bench))
    assert len(bench.book) == 20


def test_a_clock_that_is_set_right_holds_no_seeds_back(params: NetworkParams) -> None:
    bench = bench_of(params, dns_seed=False, fixed_seeds=True, add_nodes=("10.0.0.1:1",))
    let_fail(bench, 5)
    bench.unix_start -= 10 * 365 * 86_400  # it was years ahead when the node was started
    let_fail(bench, 58)
    assert any(text.startswith("Adding fixed seeds as 60 seconds have passed") for text in lines(bench))


def test_seed_nodes_do_not_hold_dns_seeds_back_for_a_clock_that_is_set_right() -> None:
    bench = bench_of(params_for("mainnet"), seed_nodes=("10.0.0.1:1",), fixed_seeds=False)
    let_fail(bench, 5)
    bench.unix_start -= 10 * 365 * 86_400
    let_fail(bench, 40)
    assert any("via seed nodes. Handing fetch logic to the DNS seeds." in text for text in lines(bench))


def test_fixed_seeds_of_networks_without_addresses_only(params: NetworkParams) -> None:
    bench = bench_of(params, dns_seed=False, fixed_seeds=True, networks=("ipv4", "onion"))
    bench.book.add([AddrEntry(UNIX_START, 9, sim_address(7))], sim_address(1), UNIX_START)
    bench.wait(2)
    assert ONION in bench.book
    assert not any(address in bench.book for address in FIXED)


def test_no_fixed_seeds_when_the_user_says_so(params: NetworkParams) -> None:
    bench = bench_of(params, dns_seed=False, fixed_seeds=False)
    let_fail(bench, 70)
    assert "Fixed seeds are disabled" in lines(bench)
    assert not len(bench.book)


def test_seed_nodes_are_asked_at_once_with_an_empty_book(params: NetworkParams) -> None:
    bench = bench_of(params, dns_seed=False, seed_nodes=("25.0.0.1",))
    bench.wait(1)
    assert "Empty addrman, adding seednode (25.0.0.1) to addrfetch" in lines(bench)
    (effect,) = bench.all(fx.Connect)
    assert (effect.target, effect.kind) == ("25.0.0.1", ConnectionKind.ADDR_FETCH)


def test_seed_nodes_are_asked_later_when_the_book_leads_nowhere(params: NetworkParams) -> None:
    bench = bench_of(params, dns_seed=False, seed_nodes=("25.0.0.1",))
    bench.book.add([AddrEntry(UNIX_START, 9, sim_address(7))], sim_address(1), UNIX_START)
    let_fail(bench, 9)
    assert not any("seednode" in text for text in lines(bench))
    let_fail(bench, 3)
    assert any("after 10 seconds. Adding seednode (25.0.0.1)" in text for text in lines(bench))


def test_dns_seeds_come_after_seed_nodes() -> None:
    bench = bench_of(params_for("testnet4"), seed_nodes=("25.0.0.1",))
    let_fail(bench, 29)
    assert not any("DNS seed " in text for text in lines(bench))
    let_fail(bench, 3)
    assert "Couldn't connect to enough peers via seed nodes. Handing fetch logic to the DNS seeds." in lines(bench)
    assert any(text.startswith("Loading addresses from DNS seed ") for text in lines(bench))
    let_fail(bench, 2)
    assert "0 addresses found from DNS seeds" in lines(bench)


@pytest.mark.parametrize("forced", [False, True])
def test_dns_seeds_are_spared_when_there_are_peers(forced: bool) -> None:
    bench = bench_of(params_for("testnet4"), force_dns_seed=forced, no_automatic=True)
    bench.book.add([AddrEntry(UNIX_START, 9, sim_address(7))], sim_address(1), UNIX_START)
    bench.wait(1)
    assert bool(bench.all(fx.ResolveSeeds)) is forced
    if forced:
        return
    assert "Waiting 11 seconds before querying DNS seeds." in lines(bench)
    for number in (1, 2):
        peer = bench.connect(ConnectionKind.OUTBOUND_FULL, address=sim_address(number))
        bench.receive(peer, Version(services=9, time=UNIX_START, nonce=peer))
        bench.receive(peer, Verack())
    bench.wait(12)
    assert "P2P peers available. Skipped DNS seeding." in lines(bench)
    assert not bench.all(fx.ResolveSeeds)
