"""Looking through the chain again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypedDict

from btcnode.rpc.declare import TOLD_OTHERWISE, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Whole
from btcnode.rpc.wallets import RESCANNING, check_unlocked, the_wallet, wallet_errors, wallets_of
from btcnode.services.loop_turns import each_in_turn
from btcnode.services.parts import NodeParts

if TYPE_CHECKING:
    from btcnode.wallet.wallet import Wallet


@contextmanager
def scanning(wallet: Wallet) -> Iterator[None]:
    """Inside, the wallet is scanned; raises RpcError where it is already."""
    scan = wallet.scan
    if scan.running:
        raise RpcError(RpcCode.WALLET_ERROR, RESCANNING)
    scan.running = scan.needs_passphrase = True
    scan.aborting = False
    try:
        yield
    finally:
        scan.running = scan.needs_passphrase = False


GENESIS = Whole(0)


class ScannedBlocks(TypedDict):
    """What was scanned."""

    start_height: Annotated[int, "The first height"]
    stop_height: Annotated[int | None, "The last height, null where no block was looked at", TOLD_OTHERWISE]


@rpc("wallet", examples=((100000, 120000),))
async def rescanblockchain(
    node: NodeParts,
    start_height: Annotated[Whole, "The first height"] = GENESIS,
    stop_height: Annotated[Whole | None, "The last height; without one up to the tip, and the mempool"] = None,
) -> ScannedBlocks:
    """Look through the chain for transactions of the wallet; much faster with an index of block filters."""
    from btcnode.services.wallet_scan import ScanStatus

    wallet, wallets = the_wallet(node), wallets_of(node)
    with scanning(wallet), wallet_errors():
        check_unlocked(wallet)
        tip = wallet.ledger.tip_height
        first = start_height.read()
        if not 0 <= first <= tip:
            raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid start_height")
        last = None if stop_height is None else stop_height.read()
        if last is not None and not 0 <= last <= tip:
            raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid stop_height")
        if last is not None and last < first:
            raise RpcError(RpcCode.INVALID_PARAMETER, "stop_height must be greater than start_height")
        await _check_blocks(node, first, tip if last is None else last)
        result = await wallets.chain.rescan(wallet, first, last)
    if result.status is ScanStatus.FAILURE:
        raise RpcError(RpcCode.MISC_ERROR, "Rescan failed. Potentially corrupted data files.")
    if result.status is ScanStatus.ABORTED:
        raise RpcError(RpcCode.MISC_ERROR, "Rescan aborted.")
    return {
        "start_height": first,
        "stop_height": node.chain.tree.height(result.last) if result.last >= 0 else None,
    }


async def _check_blocks(node: NodeParts, first: int, last: int) -> None:
    """Raise RpcError where a block is not here."""
    tree, active = node.chain.tree, node.chain.driver.chainstate.active
    async for height in each_in_turn(range(first, last + 1)):
        if height > active.height or tree.has_data(active.at(height)):
            continue
        if node.settings.storage.prunes:
            why = "Can't rescan beyond pruned data. Use RPC call getblockchaininfo to determine your pruned height."
        else:
            why = (
                "Failed to rescan unavailable blocks likely due to an in-progress assumeutxo background sync. Check"
                " logs or getchainstates RPC for assumeutxo background sync progress and try again later."
            )
        raise RpcError(RpcCode.MISC_ERROR, why)


@rpc("wallet")
def abortrescan(node: NodeParts) -> Annotated[bool, "Whether there was a rescan to abort"]:
    """Have a rescan end that a method has begun."""
    scan = the_wallet(node).scan
    if not scan.running or scan.aborting:
        return False
    scan.aborting = True
    return True
