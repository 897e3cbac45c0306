"""Keys, addresses and signing by python-bitcointx, in tests of users."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from bitcointx.core import CBitcoinMutableTransaction, CBitcoinMutableTxIn, CBitcoinMutableTxOut
from bitcointx.wallet import CCoinAddressError

from btcnode.rpc.errors import RpcError
from btcnode.testing.holder import Holder
from btcnode.testing.regtest import RegtestNode


@pytest.fixture(scope="module")
def node() -> Iterator[RegtestNode]:
    with RegtestNode() as made:
        made.fill_purse()
        yield made


def test_a_holder_is_paid_and_pays(node: RegtestNode) -> None:
    alice, bob = Holder(node, "alice"), Holder(node, "bob")
    assert alice.coins() == [] and str(alice.address) != str(bob.address)
    assert str(Holder(node, "alice").address) == str(alice.address)
    node.pay(str(alice.address), "2")
    assert alice.coins() == []  # not confirmed
    node.mine()
    assert [coin.txout.nValue for coin in alice.coins()] == [200_000_000]
    tx = alice.pay(bob.address, Decimal("0.5"))
    assert node.rpc.getrawmempool() == [tx.GetTxid()[::-1].hex()]
    assert alice.coins() == []  # spent, and the change is not confirmed
    node.mine()
    assert [coin.txout.nValue for coin in bob.coins()] == [50_000_000]
    assert [coin.txout.nValue for coin in alice.coins()] == [149_998_000]
    assert node.rpc.getrawtransaction(tx.GetTxid()[::-1].hex(), 0, node.rpc.getbestblockhash()) == tx.serialize().hex()


def test_coins_that_are_mined_are_ripe_after_a_hundred_blocks(node: RegtestNode) -> None:
    carol = Holder(node, "carol")
    node.mine(1, str(carol.address))
    assert carol.coins() == []
    node.mine(99)
    assert len(carol.coins()) == 1


def test_a_test_builds_a_transaction_and_has_it_signed(node: RegtestNode) -> None:
    dave = Holder(node, "dave")
    node.pay(str(dave.address), "1")
    node.pay(str(dave.address), "3")
    node.mine()
    coins = dave.coins()
    assert [coin.txout.nValue for coin in coins] == [300_000_000, 100_000_000]
    inputs = [CBitcoinMutableTxIn(coin.outpoint) for coin in coins]
    output = CBitcoinMutableTxOut(399_990_000, dave.address.to_scriptPubKey())
    tx = dave.sign(CBitcoinMutableTransaction(inputs, [output]), [coin.txout for coin in coins])
    assert node.rpc.testmempoolaccept([tx.serialize().hex()])[0]["allowed"]
    wrong = dave.sign(CBitcoinMutableTransaction(inputs, [output]), [coin.txout for coin in coins[::-1]])
    with pytest.raises(RpcError, match="mempool-script-verify-flag-failed"):  # other amounts were signed
        node.rpc.sendrawtransaction(wrong.serialize().hex())
    with pytest.raises(ValueError, match="2 inputs but 1 coins"):
        dave.sign(CBitcoinMutableTransaction(inputs, [output]), [coins[0].txout])


def test_mistakes_are_told(node: RegtestNode) -> None:
    erin = Holder(node, "erin")
    with pytest.raises(ValueError, match="do not suffice for 1 BTC"):
        erin.pay(node.address, "1")
    with pytest.raises(CCoinAddressError):
        erin.pay("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "1")
