"""Without a peer the user has a word within fifteen seconds, with what to try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.services.first_contact import PATIENCE_S, FirstContact
from tests.lib.node_parts import NodeLab, regtest_config
from tests.lib.settings import settings_of


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[NodeLab]:
    lab = NodeLab(regtest_config(tmp_path))
    yield lab
    lab.close()


def contact_of(lab: NodeLab, tmp_path: Path, **options: Any) -> FirstContact:
    options = {"network": "testnet4", "datadir": tmp_path, **options}
    return FirstContact(settings_of(**options), lab.assembled.machinery.protocol)


def advice_after(contact: FirstContact, seconds: float) -> str:
    for steady in range(100, 100 + int(seconds) + 1):
        contact.check(float(steady))
    return contact.advice or ""


def test_patience_ends_in_time() -> None:
    assert PATIENCE_S + 2 < 15  # who is asked once a second, a little late


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["No peer can be reached", "online", "do names resolve", "--addnode"]),
        ({"connect": ["10.0.0.7", "there:1"]}, ["10.0.0.7", "there:1", "-connect does not answer"]),
        ({"network": "regtest", "addnode": ["10.0.0.7"]}, ["No peer can be reached"]),
        ({"proxy": ["127.0.0.1:9050"], "onlynet": ["onion"]}, ["Is the proxy up", "Can onion be reached"]),
    ],
)
def test_advice_names_what_the_options_say(
    lab: NodeLab, tmp_path: Path, options: dict[str, Any], words: list[str]
) -> None:
    contact = contact_of(lab, tmp_path, **options)
    assert advice_after(contact, PATIENCE_S - 1) == ""
    text = advice_after(contact, PATIENCE_S)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("options", [{"network": "regtest"}, {"connect": ["0"]}])
def test_who_looks_for_nobody_hears_nothing(lab: NodeLab, tmp_path: Path, options: dict[str, Any]) -> None:
    assert advice_after(contact_of(lab, tmp_path, **options), 100) == ""


def test_it_is_said_once_and_taken_back(lab: NodeLab, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "btcnode.net")
    contact = contact_of(lab, tmp_path)
    assert advice_after(contact, 60)
    assert caplog.text.count("No peer can be reached") == 1
    peer = lab.add_peer("21.1.1.1:8333")
    contact.check(200.0)
    assert contact.advice is None and caplog.text.count("there are peers again") == 1
    peer.close()
    lab.until(lambda: not lab.assembled.machinery.reactor.connections)
    contact.check(300.0)
    assert contact.advice is None
    contact.check(300.0 + PATIENCE_S)
    assert contact.advice is not None and caplog.text.count("No peer can be reached") == 2


def test_networking_that_is_off_is_named(lab: NodeLab, tmp_path: Path) -> None:
    lab.thread.call(lambda: lab.parts.peers.set_network_active(False))
    assert "setnetworkactive true" in advice_after(contact_of(lab, tmp_path), PATIENCE_S)


def test_rpc_tells_the_advice(lab: NodeLab, tmp_path: Path) -> None:
    assert "advice" not in lab.table.call(lab.table.methods["getsyncstate"], [])
    lab.parts.contact.advice = "Try this."
    assert lab.table.call(lab.table.methods["getsyncstate"], [])["advice"] == "Try this."
