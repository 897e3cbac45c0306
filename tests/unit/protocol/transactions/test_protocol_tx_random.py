"""Random peers, transactions and verdicts in any order: nothing is lost, leaked or left waiting."""

from __future__ import annotations

from random import Random

import pytest

from btcnode.mempool.rejection import TxResult
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import sha256d
from btcnode.primitives.tx import Tx
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.transactions.tx_intake import memory_of
from btcnode.settings.permissions import Permission
from btcnode.testing.small_pool import COIN_VALUE, INVALID_SCRIPT, SmallPool, coin, output, spend
from btcnode.wire.constants import MSG_TX, MSG_WITNESS_TX, MSG_WTX
from btcnode.wire.messages import FeeFilter, GetData, Inv, InvItem, Mempool, NotFound, TxMessage
from tests.lib.protocol_bench import Bench


def make_transactions(rng: Random) -> list[Tx]:
    """Families: loose ones, chains, cheap parents, invalid ones, conflicts."""
    txs: list[Tx] = []
    for n in range(60):
        kind = rng.randrange(6)
        witness = b"w" if rng.random() < 0.7 else b""
        if kind < 2 or not txs:
            txs.append(spend([coin(n)], COIN_VALUE, 1000, outputs=3, witness=witness))
        elif kind == 2:
            txs.append(spend([coin(n)], COIN_VALUE, 0, outputs=2, witness=witness))
        elif kind == 3:
            txs.append(spend([coin(rng.randrange(n))], COIN_VALUE, 2000, script_sig=INVALID_SCRIPT * rng.randrange(2)))
        else:
            parents = [rng.choice(txs) for _ in range(rng.randrange(1, 3))]
            prevouts = list(dict.fromkeys(output(p, rng.randrange(len(p.txouts))) for p in parents))
            txs.append(spend(prevouts, 300_000, 5000, outputs=2, witness=witness))
    return txs


def check(bench: Bench, waiting: list[fx.ProcessTransactions]) -> None:
    intake = bench.protocol._intake
    assert list(intake._open) == sorted(effect.number for effect in waiting if effect.number > 0)
    assert intake._bytes == sum(memory_of(tx) for e in waiting for tx in e.txs)
    present = set(bench.protocol.peer_ids())
    owners = {number: open_.peer_id for number, open_ in intake._open.items()}
    for effect in waiting:  # what a gone peer left is another one's, if that has sent it too
        assert effect.peer_id not in present or effect.number < 0 or owners[effect.number] == effect.peer_id
    for peer_id in present:
        mine = [number for number, owner in owners.items() if owner == peer_id]
        assert bench.state(peer_id).txs_in_validation == len(mine)
        assert set(bench.state(peer_id).unjudged.txs()) <= set(mine)
    assert set(intake._heirs) <= set(intake._busy)
    assert set(intake._busy) == {h for e in waiting for tx in e.txs for h in (tx.txid, tx.wtxid)}
    orphanage = intake.download.orphanage
    assert not orphanage.is_full
    assert sum(o.reconsider is not None for o in orphanage._orphans.values()) <= len(orphanage)
    for peer_id in intake._working:
        assert any(o.worker == peer_id for o in intake._open.values())


@pytest.mark.parametrize("seed", range(8))
def test_random_transaction_traffic(params: NetworkParams, blocks: list[bytes], seed: int) -> None:
    rng = Random(seed)
    pool = SmallPool()
    config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True)
    bench = Bench(params, config=config, transactions=pool, seed=seed)
    bench.load(blocks)
    txs = make_transactions(rng)
    waiting: list[fx.ProcessTransactions] = []
    peers: list[int] = []
    for _ in range(1500):
        action = rng.randrange(20)
        if not peers or (action == 0 and len(peers) < 8):
            kind = rng.choice([ConnectionKind.INBOUND, ConnectionKind.OUTBOUND_FULL])
            permissions = rng.choice([*[Permission.NONE] * 3, Permission.RELAY | Permission.MEMPOOL, Permission.NOBAN])
            peers.append(bench.peer(kind, services=1033, wtxid_relay=rng.random() < 0.7, permissions=permissions))
        peer, tx = rng.choice(peers), rng.choice(txs)
        kind_of_inv = MSG_WTX if bench.state(peer).wtxid_relay else MSG_TX
        item = InvItem(kind_of_inv, tx.wtxid if kind_of_inv == MSG_WTX else tx.txid)
        if action < 5:
            bench.receive(peer, Inv((item,)))
        elif action < 9:
            bench.receive(peer, TxMessage(rng.choice([tx.raw, tx.raw, tx.raw, tx.stripped()])))
        elif action < 13 and waiting:
            effect = waiting.pop(rng.randrange(len(waiting)))
            answer = pool.judge(effect)
            if rng.random() < 0.1:
                unknown = tuple(ev.TxOutcome(t.txid, t.wtxid, TxResult.UNKNOWN) for t in effect.txs)
                answer = ev.TransactionsProcessed(effect.peer_id, effect.number, rng.choice([(), unknown]))
            elif rng.random() < 0.05:
                bench.step(answer)  # twice
                waiting += bench.all(fx.ProcessTransactions)
            bench.step(answer)
        elif action == 13:
            bench.receive(peer, GetData((item, InvItem(MSG_WITNESS_TX, tx.txid))))
        elif action == 14:
            bench.receive(peer, NotFound((item,)))
        elif action == 15 and rng.random() < 0.2:
            bench.step(ev.PeerDisconnected(peer))
            peers.remove(peer)
        elif action == 16:
            bench.receive(peer, FeeFilter(rng.randrange(5000)))
        elif action == 17 and rng.random() < 0.1:
            bench.step(ev.TransactionsConfirmed(parse_block(rng.choice(blocks))))
        elif action == 18 and bench.state(peer).permissions & Permission.MEMPOOL:
            bench.receive(peer, Mempool())
        else:
            bench.now += rng.choice([0.1, 1, 3])
            bench.step(ev.Tick(1_700_000_000 + bench.now - 1000))
        waiting += bench.all(fx.ProcessTransactions)
        check(bench, waiting)
    while waiting:
        bench.step(pool.judge(waiting.pop(0)))
        waiting += bench.all(fx.ProcessTransactions)
        check(bench, waiting)
    assert not bench.protocol._intake._working
    for peer in peers:
        bench.step(ev.PeerDisconnected(peer))
    assert len(bench.protocol._intake.download.tracker) == 0
    assert not bench.protocol.orphans()
    assert pool.entries


def mixed(rng: Random, txs: list[Tx]) -> list[bytes]:
    """Payloads as a peer may send them: as they are, without witness, with bytes behind, cut off, again."""
    payloads = []
    for tx in rng.choices(txs, k=40):
        raw = tx.raw
        payloads.append(rng.choice([raw, raw, raw, raw, tx.stripped(), raw + b"more", raw[: rng.randrange(60, 80)]]))
    return [payload for payload in payloads if len(payload) >= 60]


def comparable(effect: fx.Effect) -> object:
    """Transactions are compared by their bytes."""
    if isinstance(effect, fx.ProcessTransactions):
        return effect.peer_id, effect.number, [tx.raw for tx in effect.txs], effect.package
    return effect


@pytest.mark.parametrize("permissions", [Permission.NOBAN, Permission.NOBAN | Permission.FORCE_RELAY])
@pytest.mark.parametrize("seed", range(8))
def test_transactions_that_come_together_have_the_effects_of_single_ones(
    params: NetworkParams, blocks: list[bytes], seed: int, permissions: Permission
) -> None:
    """Sixteen at a time, or one: the same is judged in the same order, and the same is told of it."""
    effects: list[list[fx.Effect]] = []
    for together in (False, True):
        rng, pool = Random(seed), SmallPool()
        config = ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True)
        bench = Bench(params, config=config, transactions=pool, seed=seed)
        bench.load(blocks)
        bench.peer(wtxid_relay=True)
        peer = bench.peer(wtxid_relay=seed % 2 == 0, permissions=permissions)
        txs = make_transactions(rng)
        seen: list[fx.Effect] = []
        for _ in range(12):
            payloads = mixed(rng, txs)[: rng.randrange(1, 17)]
            if together:
                hashed = rng.random() < 0.5
                pairs = tuple((raw, sha256d(raw) if hashed else b"") for raw in payloads)
                found = bench.step(ev.TransactionsReceived(peer, pairs))
            else:
                rng.random()
                found = [effect for raw in payloads for effect in bench.receive(peer, TxMessage(raw))]
            seen += found
            waiting = [effect for effect in found if isinstance(effect, fx.ProcessTransactions)]
            while waiting:
                some, waiting = waiting[:5], waiting[5:]
                answers = [pool.judge(effect) for effect in some]
                if together:
                    told = bench.protocol.step_all(bench.now, answers)
                else:
                    told = [effect for answer in answers for effect in bench.protocol.step(bench.now, answer)]
                seen += told
                waiting += [effect for effect in told if isinstance(effect, fx.ProcessTransactions)]
        effects.append([*seen, *bench.wait(30)])
        assert pool.entries and bench.protocol.orphans()
    assert [comparable(effect) for effect in effects[0]] == [comparable(effect) for effect in effects[1]]
