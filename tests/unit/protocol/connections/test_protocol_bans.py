from __future__ import annotations

from typing import Any

import pytest

from btcnode.errors import ConfigError, DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol.commands import LiftBan, SetBan
from btcnode.protocol.connections.bans import Ban, BanList
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.settings.permissions import AccessRules, Permission, names, parse_whitebind, parse_whitelist
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.netaddr import NetAddress, Network
from btcnode.wire.subnet import SubNet
from tests.lib.protocol_bench import Bench

ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"


def host(text: str) -> NetAddress:
    return NetAddress.from_host(text, 8333)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1.2.3.4", "1.2.3.4/32"),
        ("1.2.3.4/24", "1.2.3.0/24"),
        ("1.2.3.4/255.255.0.0", "1.2.0.0/16"),
        ("1.2.3.4/0", "0.0.0.0/0"),
        ("2001:4d48:ac57:400:cacf:e9ff:fe1d:9c63/19", "2001:4000::/19"),
        ("::1", "::1/128"),
        (ONION, ONION),
    ],
)
def test_ranges_are_read_and_shown_as_core_does(text: str, shown: str) -> None:
    assert str(SubNet.parse(text)) == shown
    assert SubNet.parse(shown) == SubNet.parse(text)


@pytest.mark.parametrize(
    "text", ["", "/", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/255.0.255.0", "1.2.3.4/::", "::1/129", "name"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        SubNet.parse(text)


def test_a_ban_holds_for_its_range_and_its_time() -> None:
    bans = BanList()
    assert bans.add(SubNet.parse("10.0.0.0/8"), 100, 200)
    assert not bans.add(SubNet.parse("10.0.0.0/8"), 110, 150)  # shorter than what holds
    assert bans.covers(host("10.9.8.7"), 199)
    assert not bans.covers(host("10.9.8.7"), 200)
    assert not bans.covers(host("11.0.0.0"), 150)
    assert not bans.covers(host("::10"), 150)
    assert not bans.has(SubNet.parse("10.0.0.0/9"), 150)
    assert bans.sweep(200) == 0
    assert bans.sweep(201) == 1
    assert not bans.all()


def test_a_lifted_ban_leaves_nothing_behind() -> None:
    bans = BanList()
    for n in range(1000):
        bans.add(SubNet.parse("1.2.3.4"), n, n + 1000)
        assert bans.remove(SubNet.parse("1.2.3.4"))
    assert not bans.remove(SubNet.parse("1.2.3.4"))
    assert len(bans._expiry) <= 66
    assert bans._lengths == {Network.IPV4: {}}


def test_bans_are_listed_in_cores_order() -> None:
    bans = BanList()
    for text in (ONION, "192.168.0.1", "::5/19", "127.0.0.0/32", "127.0.0.0/24"):
        bans.add(SubNet.parse(text), 1, 2)
    shown = [str(subnet) for subnet, _ in bans.all()]
    assert shown == ["127.0.0.0/24", "127.0.0.0/32", "192.168.0.1/32", "::/19", ONION]
    assert bans.all()[0][1] == Ban(1, 2)


def test_a_question_looks_at_lengths_not_at_bans() -> None:
    """CVE-2020-14198: many bans must not make each address slower to judge."""
    bans = BanList()
    for n in range(20_000):
        bans.add(SubNet(Network.IPV4, n.to_bytes(4, "big"), 32), 1, 1_000_000)
    looks = 0

    class Counting(dict[int, Any]):
        def items(self) -> Any:
            nonlocal looks
            looks += len(self)
            return super().items()

    bans._lengths[Network.IPV4] = Counting(bans._lengths[Network.IPV4])
    assert bans.covers(host("0.0.78.31"), 5)
    assert not bans.covers(host("0.1.0.0"), 5)
    assert looks == 2


def test_banned_peers_are_disconnected_and_kept_out(params: NetworkParams) -> None:
    bench = Bench(params)
    here = host("44.3.2.1")
    peer = bench.peer(address=here)
    other = bench.peer(address=host("44.4.2.1"))
    effects = bench.step(SetBan(SubNet.parse("44.3.0.0/16"), UNIX_START, UNIX_START + 1000))
    assert [e.peer_id for e in effects if isinstance(e, fx.Disconnect)] == [peer]
    again = bench.connect(address=here)
    assert [e.peer_id for e in bench.effects if isinstance(e, fx.Disconnect)] == [again]
    assert any(isinstance(e, fx.Log) and e.text.endswith("dropped (banned)") for e in bench.effects)
    allowed = bench.connect(address=here, permissions=Permission.NOBAN)
    assert not [e for e in bench.effects if isinstance(e, fx.Disconnect)]
    assert allowed in bench.protocol.peer_ids()
    assert other in bench.protocol.peer_ids()
    bench.step(LiftBan(SubNet.parse("44.3.0.0/16")))
    bench.connect(address=here)
    assert not [e for e in bench.effects if isinstance(e, fx.Disconnect)]


ALL = ("bloomfilter", "noban", "forcerelay", "relay", "mempool", "download", "addr")


def rules_of(whitelist: tuple[str, ...], whitebind: tuple[str, ...] = (), **options: Any) -> AccessRules:
    ranges = tuple(parse_whitelist("whitelist", text) for text in whitelist)
    return AccessRules(ranges, tuple(parse_whitebind("whitebind", text) for text in whitebind), **options)


@pytest.mark.parametrize(
    ("text", "options", "granted"),
    [
        ("127.0.0.1", {}, ("noban", "relay", "mempool", "download")),
        ("127.0.0.1", {"relay": False}, ("noban", "mempool", "download")),
        ("127.0.0.1", {"force_relay": True}, ("noban", "forcerelay", "relay", "mempool", "download")),
        ("@127.0.0.1", {"force_relay": True}, ()),
        ("noban@127.0.0.0/8", {}, ("noban", "download")),
        ("bloom,forcerelay@127.0.0.1", {}, ("bloomfilter", "forcerelay", "relay")),
        ("all@127.0.0.1", {}, ALL),
        ("out,noban@127.0.0.1", {}, ()),
        ("in,out,noban@127.0.0.1", {}, ("noban", "download")),
        ("noban@128.0.0.1", {}, ()),
    ],
)
def test_whitelist(text: str, options: dict[str, Any], granted: tuple[str, ...]) -> None:
    rules = rules_of((text,), **options)
    assert names(rules.inbound(host("127.0.0.1"), None)) == granted


def test_permissions_by_direction_and_listener_add_up() -> None:
    rules = rules_of(("noban,out@127.0.0.1", "addr@127.0.0.1"), ("bloomfilter@0.0.0.0:9",))
    assert names(rules.outbound(host("127.0.0.1"))) == ("noban", "download")
    assert names(rules.inbound(host("127.0.0.1"), rules.binds[0])) == ("bloomfilter", "addr")
    implicit = rules_of((), ("0.0.0.0:9",))
    assert names(implicit.inbound(host("1.2.3.4"), implicit.binds[0])) == ("noban", "relay", "mempool", "download")


@pytest.mark.parametrize(
    ("whitelist", "whitebind", "message"),
    [
        ("in,out@127.0.0.1", "", "Only direction was set, no permissions: 'in,out@127.0.0.1'"),
        ("oopsie@127.0.0.1", "", "Invalid P2P permission: 'oopsie'"),
        ("noban@127.0.0.1:230", "", "Invalid netmask specified in -whitelist: '127.0.0.1:230'"),
        ("", "noban@127.0.0.1/10", "Cannot resolve -whitebind address: '127.0.0.1/10'"),
        ("", "noban@127.0.0.1", "Need to specify a port with -whitebind: '127.0.0.1'"),
        ("", "out,noban@127.0.0.1:1", 'whitebind may only be used for incoming connections ("out" was passed)'),
    ],
)
def test_wrong_permissions_are_named(whitelist: str, whitebind: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rules_of((whitelist,) if whitelist else (), (whitebind,) if whitebind else ())
    assert str(caught.value) == message


def test_a_manual_peer_can_be_connected_although_banned(params: NetworkParams) -> None:
    bench = Bench(params)
    bench.step(SetBan(SubNet.parse("44.3.2.1"), UNIX_START, UNIX_START + 1000))
    bench.connect(ConnectionKind.MANUAL, address=host("44.3.2.1"))
    assert not [e for e in bench.effects if isinstance(e, fx.Disconnect)]
