"""The live display of a node on a terminal; the only part that loads rich."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from btcnode.observe.progress import MIB, STATES, RateMeter, Rates, Snapshot, duration, headers_progress

REFRESH_S = 0.5


def _bar(share: float) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(total=1.0, completed=share, width=40), f"{100 * share:.2f} %")
    return row


def render(snapshot: Snapshot, rates: Rates, recent: Iterable[str] = ()) -> RenderableType:
    """The live display: bars, figures, the newest log lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    title = Text.assemble(("btcnode ", "bold"), (snapshot.network, "cyan"))
    title.append(*_state(snapshot))
    if not snapshot.loaded:
        return Group(title, *_dim(recent))
    table.add_row("Headers", _bar(headers_progress(snapshot)))
    table.add_row("", f"{snapshot.headers:,}  ({rates.headers:,.0f}/s)")
    table.add_row("Blocks", _bar(min(1.0, snapshot.progress)))
    table.add_row("", f"{snapshot.blocks:,}  ({rates.blocks:,.1f}/s)")
    table.add_row("Transactions", f"{snapshot.transactions:,}  ({rates.transactions:,.0f}/s)")
    age = duration(snapshot.tip_age) if snapshot.tip_time else "unknown"
    table.add_row("Tip", f"{age} old")
    table.add_row(
        "Peers", f"{snapshot.peers_out} out, {snapshot.peers_in} in  ({rates.bytes_received / MIB:.2f} MiB/s)"
    )
    limit = f" of {snapshot.cache_limit / MIB:,.0f}" if snapshot.cache_limit else ""
    table.add_row("Coin cache", f"{snapshot.cache_bytes / MIB:,.1f}{limit} MiB, {snapshot.cache_coins:,} coins")
    if rates.seconds_left is not None:
        table.add_row("Time left", duration(rates.seconds_left))
    advice = [Text(snapshot.advice, style="yellow")] if snapshot.advice else []
    return Group(title, table, *advice, *_dim(recent))


def _state(snapshot: Snapshot) -> tuple[str, str]:
    """What the node does, and the colour of that."""
    if snapshot.status is not None:
        return f"  {snapshot.status}", "yellow"
    if snapshot.in_sync:
        return "  in sync", "green"
    if snapshot.state == "synced":
        return f"  {STATES['idle' if not snapshot.peers_in + snapshot.peers_out else 'synced']}", "yellow"
    return f"  {STATES[snapshot.state]}", "red" if snapshot.state == "stalled" else "cyan"


def _dim(lines: Iterable[str]) -> list[Text]:
    return [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in lines]


async def show_live(snapshot: Callable[[], Snapshot], recent: Iterable[str], console: Console | None = None) -> None:
    """Draw the display on a console (that of stdout) until cancelled."""
    meter = RateMeter()
    console = console or Console()
    try:
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                now = snapshot()
                live.update(render(now, meter.add(monotonic(), now), recent), refresh=True)
                await asyncio.sleep(REFRESH_S)
    finally:
        if not console.is_terminal:  # there the last picture has no end of its line
            console.print()
