"""A chain in memory for simulations: real headers and block checks, no coins and no scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from btcnode.chain.active_chain import ActiveChain
from btcnode.chain.block_status import VALID_SCRIPTS
from btcnode.chain.header_tree import HeaderTree
from btcnode.consensus.blocks import check_block
from btcnode.errors import DecodeError, Fault, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import Tx
from btcnode.protocol.chain_view import NodeChainView
from btcnode.testing.blocks import BlockTemplate


class Activation(NamedTuple):
    """What making a chain active did, as header indices.

    ``connected``: oldest first; ``rejected``: could not be connected, and why; ``left``: disconnected, newest first.
    """

    connected: list[int]
    rejected: list[tuple[int, RuleViolation]]
    left: list[int]


class MemoryChain:
    """Header tree, active chain and block bytes of one simulated node.

    ``invalid`` maps hashes of blocks that shall fail when they are connected to the reject reason.
    """

    def __init__(self, params: NetworkParams, *, minimum_chain_work: int | None = None) -> None:
        self.params = params
        self.tree = HeaderTree(params, salt=0)
        self.tree.receive_block(0, 1, 0, 8)
        self.tree.raise_validity(0, VALID_SCRIPTS)
        self.active = ActiveChain(self.tree, 0)
        self.view = NodeChainView(self.tree, self.active, params, minimum_chain_work=minimum_chain_work)
        self.blocks: dict[int, bytes] = {0: params.genesis_block}
        self.invalid: dict[bytes, str] = {}

    @property
    def tip_hash(self) -> bytes:
        """Hash of the active tip."""
        return self.tree.hash(self.active.tip)

    def store(self, index: int, raw: bytes) -> tuple[RuleViolation | None, bool]:
        """Check and store a block of a known header; returns what is wrong with it, and whether it is new."""
        if self.tree.has_data(index):
            return None, False
        try:
            block = parse_block(raw)
            check_block(block, self.params)
        except DecodeError as error:
            return RuleViolation("bad-block-encoding", str(error), Fault.MUTATED), False
        except RuleViolation as violation:
            if violation.fault is not Fault.MUTATED:
                self.tree.mark_failed(index)
            return violation, False
        self.blocks[index] = raw
        self.tree.receive_block(index, block.n_tx, 0, 8 * len(self.blocks))
        return None, True

    def parsed(self, index: int) -> ParsedBlock:
        """A stored block."""
        return parse_block(self.blocks[index])

    def activate(self) -> Activation:
        """Make the best chain active."""
        connected: list[int] = []
        rejected: list[tuple[int, RuleViolation]] = []
        left: list[int] = []
        while (target := self.tree.best_candidate(self.active.tip)) != self.active.tip:
            fork = self.active.find_fork(target)
            for height in range(self.active.height, self.tree.height(fork), -1):
                index = self.active.at(height)
                if index in connected:
                    connected.remove(index)
                else:
                    left.append(index)
            self.active.set_tip(fork)
            for height in range(self.tree.height(fork) + 1, self.tree.height(target) + 1):
                index = self.tree.ancestor(target, height)
                code = self.invalid.get(self.tree.hash(index))
                if code is not None:
                    rejected.append((index, RuleViolation(code, to_display(self.tree.hash(index)))))
                    self.tree.mark_failed(index)
                    break
                self.tree.raise_validity(index, VALID_SCRIPTS)
                self.active.set_tip(index)
                connected.append(index)
        return Activation(connected, rejected, left)

    def add_block(self, raw: bytes, now: int) -> int:
        """Add a block of our own with its header; returns its index. Raises RuleViolation."""
        index, _ = self.tree.add(raw[:HEADER_SIZE], now)
        violation, _ = self.store(index, raw)
        if violation is not None:
            raise violation
        return index

    def mine(self, time: int, *, on: int | None = None, extra: bytes = b"\x00", txs: Sequence[Tx] = ()) -> bytes:
        """A valid block on top of ``on`` (by default the tip), with these transactions; it is not added."""
        prev = self.active.tip if on is None else on
        tree = self.tree
        template = BlockTemplate(
            self.params, tree.hash(prev), tree.height(prev) + 1, time, self.params.pow_limit_bits, extra=extra
        )
        template.txs = list(txs)
        return template.build()


def mine_chain(params: NetworkParams, count: int, last_time: int, *, extra: bytes = b"\x00") -> list[bytes]:
    """``count`` blocks on top of genesis at the network's spacing, the last one at ``last_time``."""
    blocks: list[bytes] = []
    prev = params.genesis_hash
    for height in range(1, count + 1):
        time = last_time - (count - height) * params.pow_target_spacing
        blocks.append(BlockTemplate(params, prev, height, time, params.pow_limit_bits, extra=extra).build())
        prev = header_hash(blocks[-1][:HEADER_SIZE])
    return blocks
